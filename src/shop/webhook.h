/*
 * webhook.h
 *	  A webhook of Shopify: whether it is from Shopify, and what it is about.  Plain C.
 */
#ifndef PRODUCT_SYNC_WEBHOOK_H
#define PRODUCT_SYNC_WEBHOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WEBHOOK_MAX_DOMAIN	255

/*
 * Whether the signature is the base64 HMAC-SHA256 of the body with this key.  Takes the same time wherever they differ.  False, too, where
 * it could not be computed.
 */
extern bool webhook_signature_good(const char *key, size_t key_len, const void *body, size_t len, const char *signature, size_t signature_len);

typedef enum WebhookStatus
{
	WEBHOOK_OK,
	WEBHOOK_NOT_JSON,			/* no JSON object, or a number in it that no 64-bit integer holds */
	WEBHOOK_NO_MEMORY
} WebhookStatus;

/* The few fields of a body that are of use; 0 where one is missing, or is no positive whole number. */
typedef struct WebhookBody
{
	int64_t		id;				/* "id", else the number at the end of "admin_graphql_api_id" */
	int64_t		inventory_item_id;
	char		domain[WEBHOOK_MAX_DOMAIN + 1]; /* "myshopify_domain", of a shop */
} WebhookBody;

extern WebhookStatus webhook_read(const char *body, size_t len, WebhookBody *out);

#endif

/*
 * webhook.c
 *	  A webhook of Shopify: whether it is from Shopify, and what it is about.
 *
 * Shopify signs the raw bytes of the body, and nothing of the headers (shopify.dev, "Verify webhook deliveries").  So the topic and the
 * number of a webhook may have been changed on the way, and what follows from one must be harmless.
 */
#include "shop/webhook.h"

#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>
#include <strings.h>

#define DIGEST_BYTES	32
#define DIGEST_BASE64	44

bool
webhook_signature_good(const char *key, size_t key_len, const void *body, size_t len, const char *signature, size_t signature_len)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned char text[DIGEST_BASE64 + 1];
	unsigned int digest_len = 0;
	bool		good = false;

	if (signature_len != DIGEST_BASE64 || key_len == 0 || key_len > INT32_MAX)
		return false;
	if (HMAC(EVP_sha256(), key, (int) key_len, body, len, digest, &digest_len) && digest_len == DIGEST_BYTES)
	{
		EVP_EncodeBlock(text, digest, DIGEST_BYTES);
		good = CRYPTO_memcmp(text, signature, DIGEST_BASE64) == 0;
	}
	explicit_bzero(digest, sizeof(digest));
	explicit_bzero(text, sizeof(text));
	return good;
}

/* A positive number of the object, or 0. */
static int64_t
number_of(json_t *object, const char *name)
{
	json_t	   *value = json_object_get(object, name);

	return json_is_integer(value) && json_integer_value(value) > 0 ? (int64_t) json_integer_value(value) : 0;
}

/* The number at the end of gid://shopify/Kind/NUMBER, or 0. */
static int64_t
number_of_gid(json_t *object)
{
	const char *gid = json_string_value(json_object_get(object, "admin_graphql_api_id"));
	const char *slash = gid && strncmp(gid, "gid://shopify/", 14) == 0 ? strrchr(gid, '/') : NULL;
	int64_t		number = 0;

	if (slash == NULL || strlen(slash + 1) > 18)
		return 0;
	for (const char *c = slash + 1; *c; c++)
	{
		if (*c < '0' || *c > '9')
			return 0;
		number = number * 10 + (*c - '0');
	}
	return number;
}

WebhookStatus
webhook_read(const char *body, size_t len, WebhookBody *out)
{
	json_error_t error;
	json_t	   *object = json_loadb(body, len, 0, &error);
	const char *domain;

	memset(out, 0, sizeof(*out));
	if (object == NULL)
		return json_error_code(&error) == json_error_out_of_memory ? WEBHOOK_NO_MEMORY : WEBHOOK_NOT_JSON;
	if (!json_is_object(object))
	{
		json_decref(object);
		return WEBHOOK_NOT_JSON;
	}
	out->id = number_of(object, "id");
	if (out->id == 0 && json_object_get(object, "id") == NULL)
		out->id = number_of_gid(object);
	out->inventory_item_id = number_of(object, "inventory_item_id");
	domain = json_string_value(json_object_get(object, "myshopify_domain"));
	if (domain && strlen(domain) <= WEBHOOK_MAX_DOMAIN &&
		strspn(domain, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-") == strlen(domain))
		strcpy(out->domain, domain);
	json_decref(object);
	return WEBHOOK_OK;
}

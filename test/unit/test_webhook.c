/*
 * test_webhook.c
 *	  Shopify's webhooks: signatures by the vectors that Shopify's and others' libraries are tested with, and bodies of all kinds.
 */
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shop/webhook.h"

static int	tests = 0;
static int	failures = 0;

static bool __attribute__((format(printf, 2, 3)))
ok(bool good, const char *format,...)
{
	va_list		args;

	printf("%sok %d - ", good ? "" : "not ", ++tests);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	failures += !good;
	return good;
}

static void
signature_case(const char *what, const char *key, const char *body, const char *signature, bool good)
{
	ok(webhook_signature_good(key, strlen(key), body, strlen(body), signature, strlen(signature)) == good, "signature: %s", what);
}

static void
body_case(const char *what, const char *body, WebhookStatus status, int64_t id, int64_t item, const char *domain)
{
	WebhookBody out;
	WebhookStatus found = webhook_read(body, strlen(body), &out);

	if (!ok(found == status && out.id == id && out.inventory_item_id == item && strcmp(out.domain, domain) == 0, "body: %s", what))
		printf("# %d, %lld, %lld, %s\n", found, (long long) out.id, (long long) out.inventory_item_id, out.domain);
}

int
main(void)
{
	const char *first = "B23tXN681gZ0qIWNRrgtzBE9XSDo5yaUu6wfmhu3a7g=";
	char		binary[4] = {0, 1, (char) 0xff, 0};
	char		expected[64];
	char	   *deep = malloc(200001);
	WebhookBody out;

	/* Shopify/shopify-app-js, validate.test.ts; bold-commerce/go-shopify, oauth_test.go. */
	signature_case("Shopify's own vector", "test_secret_key", "{\"foo\": \"bar\"}", first, true);
	signature_case("go-shopify's vector", "hush", "\"my secret message\"", "hMTq0K2x7oyOjoBwGYeTj5oxfnaVYXzbanUG9aajpKI=", true);
	signature_case("another body", "test_secret_key", "{\"foo\":\"bar\"}", first, false);
	signature_case("another key", "test_secret_keys", "{\"foo\": \"bar\"}", first, false);
	signature_case("no key", "", "{\"foo\": \"bar\"}", first, false);
	signature_case("too short", "hush", "\"my secret message\"", "hMTq0K2x7oyOjoBwGYeTj5oxfnaVYXzbanUG9aajpKI", false);
	signature_case("too long", "hush", "\"my secret message\"", "hMTq0K2x7oyOjoBwGYeTj5oxfnaVYXzbanUG9aajpKI==", false);
	signature_case("empty", "hush", "\"my secret message\"", "", false);
	signature_case("of another case", "hush", "\"my secret message\"", "hmTq0K2x7oyOjoBwGYeTj5oxfnaVYXzbanUG9aajpKI=", false);
	signature_case("in hexadecimal", "hush", "\"my secret message\"", "84c4ead0adb1ee8c8e8e806f1987938f9a317e76956176", false);
	{
		unsigned char digest[EVP_MAX_MD_SIZE];
		unsigned int len = 0;

		HMAC(EVP_sha256(), "key", 3, (unsigned char *) binary, 4, digest, &len);
		EVP_EncodeBlock((unsigned char *) expected, digest, (int) len);
		ok(webhook_signature_good("key", 3, binary, 4, expected, strlen(expected)), "signature: bytes that are no text");
		HMAC(EVP_sha256(), "key", 3, (unsigned char *) "", 0, digest, &len);
		EVP_EncodeBlock((unsigned char *) expected, digest, (int) len);
		ok(webhook_signature_good("key", 3, "", 0, expected, strlen(expected)), "signature: no bytes at all");
	}

	body_case("a product", "{\"id\": 788032119674292922, \"title\": \"x\"}", WEBHOOK_OK, 788032119674292922, 0, "");
	body_case("a level", "{\"inventory_item_id\":271878346596884015,\"location_id\":24826418,\"available\":null}", WEBHOOK_OK, 0, 271878346596884015, "");
	body_case("a bulk operation", "{\"admin_graphql_api_id\": \"gid://shopify/BulkOperation/147595010\", \"status\": \"completed\"}", WEBHOOK_OK, 147595010, 0, "");
	body_case("a shop", "{\"id\": 548380009, \"myshopify_domain\": \"snowdevil.myshopify.com\"}", WEBHOOK_OK, 548380009, 0, "snowdevil.myshopify.com");
	body_case("a number as text", "{\"id\": \"12\"}", WEBHOOK_OK, 0, 0, "");
	body_case("a fraction", "{\"id\": 12.5}", WEBHOOK_OK, 0, 0, "");
	body_case("a negative number", "{\"id\": -12}", WEBHOOK_OK, 0, 0, "");
	body_case("a number too big", "{\"id\": 99999999999999999999}", WEBHOOK_NOT_JSON, 0, 0, "");
	body_case("a gid too big", "{\"admin_graphql_api_id\": \"gid://shopify/Product/99999999999999999999\"}", WEBHOOK_OK, 0, 0, "");
	body_case("a gid with a tail", "{\"admin_graphql_api_id\": \"gid://shopify/Product/1?a=b\"}", WEBHOOK_OK, 0, 0, "");
	body_case("an array", "[1]", WEBHOOK_NOT_JSON, 0, 0, "");
	body_case("garbage", "\x01\xff garbage", WEBHOOK_NOT_JSON, 0, 0, "");
	body_case("nothing", "", WEBHOOK_NOT_JSON, 0, 0, "");
	body_case("cut off", "{\"id\": 1", WEBHOOK_NOT_JSON, 0, 0, "");
	body_case("more behind it", "{\"id\": 1} x", WEBHOOK_NOT_JSON, 0, 0, "");
	memset(deep, '[', 200000);
	ok(webhook_read(deep, 200000, &out) == WEBHOOK_NOT_JSON, "body: 200,000 levels deep");
	free(deep);
	printf("1..%d\n", tests);
	return failures > 0;
}

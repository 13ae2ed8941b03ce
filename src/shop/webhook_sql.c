/*
 * webhook_sql.c
 *	  Signature and content of a webhook, for SQL.  The key is read where it is kept, at the moment of use, and is nothing that SQL sees.
 */
#include "postgres.h"

#include "shop/webhook.h"
#include "worker/secret.h"

#include "funcapi.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(sync_webhook_signature_good);
PG_FUNCTION_INFO_V1(sync_webhook_body);

/* Whether the signature fits the body by the key that secret_ref names. */
Datum
sync_webhook_signature_good(PG_FUNCTION_ARGS)
{
	char	   *reference = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bytea	   *body = PG_GETARG_BYTEA_PP(1);
	text	   *signature = PG_GETARG_TEXT_PP(2);
	char	   *key = secret_resolve(reference);
	bool		good = webhook_signature_good(key, strlen(key), VARDATA_ANY(body), VARSIZE_ANY_EXHDR(body), VARDATA_ANY(signature),
											  VARSIZE_ANY_EXHDR(signature));

	explicit_bzero(key, strlen(key));
	pfree(key);
	PG_RETURN_BOOL(good);
}

/* What a body is about: (readable, id, inventory_item_id, domain). */
Datum
sync_webhook_body(PG_FUNCTION_ARGS)
{
	bytea	   *body = PG_GETARG_BYTEA_PP(0);
	WebhookBody content;
	WebhookStatus status = webhook_read(VARDATA_ANY(body), VARSIZE_ANY_EXHDR(body), &content);
	TupleDesc	tupdesc;
	Datum		values[4] = {0};
	bool		nulls[4] = {false, true, true, true};

	if (status == WEBHOOK_NO_MEMORY)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = BoolGetDatum(status == WEBHOOK_OK);
	values[1] = Int64GetDatum(content.id);
	nulls[1] = content.id == 0;
	values[2] = Int64GetDatum(content.inventory_item_id);
	nulls[2] = content.inventory_item_id == 0;
	if (content.domain[0])
	{
		values[3] = CStringGetTextDatum(content.domain);
		nulls[3] = false;
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}

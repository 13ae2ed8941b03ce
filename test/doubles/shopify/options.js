// Every option of the double: each is one of the command line (--name value) and of POST /_control.
'use strict';

module.exports = {
	port: 0,
	// seeds: a number of generated products, variants of each, seed; locations: their names
	products: 0, variants: 2, seed: 1, levels: 1, locations: ['Main Warehouse', 'Toronto'],
	// the shop
	shop_name: 'Test Shop', shop_domain: 'test-shop.myshopify.com', shop_id: 72345678, currency: 'USD', weight_unit: 'GRAMS',
	scopes: ['read_products', 'write_products', 'read_inventory', 'write_inventory', 'read_locations', 'read_publications',
		'write_publications', 'write_files'],
	// who may ask: a permanent token, and the client-credentials grant
	token: 'shpat_test', client_id: 'client', client_secret: 'hush', token_seconds: 86399, grant: true,
	api_version: '',                     // what X-Shopify-API-Version says, where it is not 2026-10
	effects_kept: 10000,                 // of older ones only the counts are left
	// the clock: a fixed time (ISO), or real time and so many seconds
	clock: '', clock_offset: 0,
	// cost: throttle false = never THROTTLED (costs are told all the same)
	// max_cost: what one query may cost; cost_factor: how much dearer all is than the formula says
	// other_client_rate: points a second that others take from this bucket, without pause
	throttle: true, bucket_size: 2000, restore_rate: 100, other_client_rate: 0, max_cost: 1000, cost_factor: 1,
	// the search index: late by milliseconds, or until POST /_control {"index_advance": number or true}
	index_lag_ms: 0, index_hold: false,
	// faults of the next requests; status_next is a list of HTTP statuses
	status_next: [], retry_after: 2, throttle_next: 0, internal_error_next: 0, denied: {},
	// frozen: HTTP 402 for all while it is set.  lose_answer_next: what was asked happens, then the connection is reset;
	// crash_before_effect_next: it is reset before anything happens; both for any request, or for those of lose_answer_of and
	// crash_of: "mutation", "query", "upload", "grant", or the name of a root field
	frozen: false, lose_answer_next: 0, lose_answer_of: '', crash_before_effect_next: 0, crash_of: '',
	drop_next: 0, hang_next: 0, truncate_next: 0, invalid_json_next: 0,
	latency_ms: 0, latency_jitter_ms: 0,
	// inventory with @idempotent: the next answers that such a request is in progress, or that an earlier one failed
	idempotency_concurrent_next: 0, idempotency_failed_next: 0, stale_next: 0,
	variants_max: 2048,                  // of a product
	variants_update_max: 250,            // Shopify's real limit of productVariantsBulkUpdate is not known
	// images: how long they are UPLOADED and PROCESSING before they are READY; so many of the next come to FAILED
	media_processing_ms: 0, media_fail_next: 0,
	// bulk operations: how long they run at least, held until bulk_hold is false, how many at once, and what the next one comes to:
	// bulk_next is a list of "FAILED", "CANCELED", "EXPIRED"; bulk_fail_after: objects in its partial data
	bulk_delay_ms: 0, bulk_hold: false, bulk_concurrent: 5, bulk_next: [], bulk_fail_after: 10, bulk_error: 'INTERNAL_SERVER_ERROR',
	// bulk mutations: the lines that run before the operation is held or delayed (-1: all); the next one fails after so many lines
	bulk_hold_after: 0, bulk_mutation_cut: 0,
	// staged uploads: how long they are good for; HTTP statuses of the next ones, refused
	upload_seconds: 604800, upload_status_next: [],
	bulk_cut_next: 0,                    // the next download breaks off after so many bytes
	bulk_lose_next: 0,                   // lines of the next operations that are counted and not in the file
	bulk_adjacent: true,                 // false: children come after all parents, not beside their own
	// webhooks: mode "hold" keeps them for POST /_webhooks, "send" delivers them; what happens on the way
	webhook_mode: 'hold', webhook_debounce: true, webhook_lose_next: 0, webhook_double_next: 0, webhook_retry_ms: 1000,
};

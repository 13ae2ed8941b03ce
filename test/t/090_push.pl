# What the catalogue has goes to the shop: staged, approved, sent in few calls, and noted as agreed.
use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use ProductSync::Cluster;
use ProductSync::Push;
use ProductSync::Shopify;

my $push = ProductSync::Push->new(products => 30);
my ($node, $shop) = @$push{qw(node shop)};

# ---- nothing to do -----------------------------------------------------------------------------------------------------------------

my $run = $push->up;
is($push->state($run), 'complete nothing differs', 'where nothing differs the run says so');

# ---- prices and stock go by themselves ------------------------------------------------------------------------------------------------

$push->sql("UPDATE sync.variant SET price = price + 1 WHERE product_id <= 10");
$push->sql("UPDATE sync.stock_level SET local = base + 3 WHERE variant_id IN (SELECT id FROM sync.variant WHERE product_id <= 10)");
my $mark = $push->mark;
$run = $push->up;
like($push->state($run), qr/^complete/, 'prices and stock are approved by themselves and sent') or diag $push->story($run);
is($push->value('SELECT count(*) FROM sync.shop_outbox(\'shopify\')'), 0, 'and agreed on');
is_deeply($push->calls($mark), { nodes => 1, productVariantsBulkUpdate => 10, inventorySetQuantities => 1, requests => 3 }, 'in one reading, one request for the prices, one for the stock');
is($push->apart, '', 'the shop has what the catalogue has');
is($push->value("SELECT string_agg(DISTINCT state::text, ' ') FROM sync.staging WHERE run_id = $run"), 'applied', 'its entries are applied');
is($push->value("SELECT string_agg(DISTINCT format('%s>%s', coalesce(from_state::text, ''), to_state), ' ' ORDER BY format('%s>%s', coalesce(from_state::text, ''), to_state)) FROM sync.push_event"),
	'>queued checking>sent queued>checking sent>synced', 'and each move is on record');
$push->pull('full');
is($push->state($push->up), 'complete nothing differs', 'our own writes come back as nothing');

# ---- other fields wait for people --------------------------------------------------------------------------------------------------------

$push->sql(<<'END');
UPDATE sync.product SET title = 'New title ' || id, tags = '{one,two}', metafields = metafields || '{"custom.material": "steel"}', attributes = attributes || '{"seo_title": "Buy it"}'
WHERE id IN (11, 12);
UPDATE sync.variant SET cost = 3.25, weight = 500, barcode = '4006381333931', compare_at_price = price + 5 WHERE product_id = 11;
UPDATE sync.product SET status = 'archived' WHERE id = 13;
END
$run = $push->up;
is($push->value("SELECT state || ' ' || (SELECT count(*) FROM sync.staging s WHERE s.run_id = r.id AND s.decision = 'pending') FROM sync.run r WHERE id = $run"), 'manual_review 3',
	'titles, tags, barcodes and statuses wait for people') or diag $push->story($run);
is($push->value("SELECT count(*) FROM sync.staging WHERE run_id = $run AND state = 'applied'"), 1, 'prices and costs of the same products do not');
$push->sql("SELECT sync_approve_where('{\"run_id\": $run, \"path\": \"title\"}', 'titles', dry_run => false)");
$push->sql("UPDATE sync.staging_field SET decision = 'rejected' WHERE path = 'tags' AND staging_id IN (SELECT id FROM sync.staging WHERE run_id = $run)");
$push->sql("SELECT sync_approve_where('{\"run_id\": $run}', 'the rest', dry_run => false)");
$push->work;
like($push->state($run), qr/^complete/, 'approved field by field, they go') or diag $push->story($run);
is($push->apart("path <> 'tags'"), '', 'all but what was rejected');
is($push->apart("path = 'tags'"), 'product 11 tags, product 12 tags', 'which the shop does not have');
is($push->state($push->up), 'complete nothing differs', 'and which is not offered again');
is($shop->product($push->remote(13))->{status}, 'ARCHIVED', 'a product is archived by its status');

# ---- new products ------------------------------------------------------------------------------------------------------------------------

$push->sql(<<'END');
WITH p AS (INSERT INTO sync.product (handle, title, description, vendor, type, tags, metafields, images) VALUES ('made-here', 'Made here', '<p>By <b>us</b>.</p>', 'Acme', 'Desk', '{a,b}', '{"custom.material": "oak"}', '[{"src": "https://example.com/a.jpg", "alt": "A"}]') RETURNING id)
INSERT INTO sync.variant (product_id, sku, price, cost, options) SELECT p.id, v.* FROM p, (VALUES ('MH-1', 10.5, 4, '{"Color": "Red"}'::jsonb), ('MH-2', 11, NULL, '{"Color": "Blue"}')) AS v (sku, price, cost, options);
END
my $new = $push->value("SELECT id FROM sync.product WHERE handle = 'made-here'");
is($push->state($push->up), 'complete nothing differs', 'a product that the shop does not have is not sent unless somebody says so');
$run = $push->up("sync_stage_shopify_up(ARRAY[$new])");
is($push->value("SELECT kind || ' ' || decision || ' ' || reason FROM sync.staging WHERE run_id = $run"), 'create pending new for the shop', 'chosen, it waits for a person');
$push->sql("SELECT sync_approve_where('{\"run_id\": $run}', NULL, dry_run => false)");
$push->work;
like($push->state($run), qr/^complete/, 'approved, it is made') or diag $push->story($run);
is($push->apart, 'product 11 tags, product 12 tags', 'as it is here');
is(scalar(grep { $_->{handle} eq 'made-here' } @{ $shop->products }), 1, 'once');
$push->pull('full');
is($push->value("SELECT count(*) FROM sync.conflict WHERE product_id = $new AND state = 'open'"), 0, 'and reading it back finds nothing to decide');
is($push->state($push->up), 'complete nothing differs', 'nor to send');

# ---- images, variants that come -----------------------------------------------------------------------------------------------------

$shop->control(media_processing_ms => 100);
$push->sql("UPDATE sync.product SET images = '[{\"src\": \"https://example.com/b.jpg\", \"alt\": \"B\"}, {\"src\": \"https://example.com/a.jpg\", \"alt\": \"A again\"}]' WHERE id = $new;"
	. " INSERT INTO sync.variant (product_id, sku, price, options) VALUES ($new, 'MH-3', 12, '{\"Color\": \"Green\"}')");
$run = $push->up;
is($push->value("SELECT string_agg(f.path, ' ' ORDER BY f.path) || ' ' || s.flags::text FROM sync.staging s JOIN sync.staging_field f ON f.staging_id = s.id WHERE s.run_id = $run GROUP BY s.id, s.flags"),
	'images variants[MH-3] {new_variant}', 'images and variants wait for a person') or diag $push->story($run);
$push->sql("SELECT sync_approve_where('{\"run_id\": $run}', NULL, dry_run => false)");
$push->work;
like($push->state($run), qr/^complete 1 applied/, 'approved, they go') or diag $push->story($run);
my $made = $shop->product($push->remote($new));
is_deeply([ map { $_->{source} . ' ' . $_->{alt} } @{ $made->{images} } ], [ 'https://example.com/b.jpg B', 'https://example.com/a.jpg A again' ], 'images are added, renamed and put in order');
is_deeply([ map { $_->{sku} } @{ $made->{variants} } ], [ 'MH-1', 'MH-2', 'MH-3' ], 'a variant comes');
$push->pull('full');
is($push->value("SELECT count(*) FROM sync.conflict WHERE product_id = $new AND state = 'open'"), 0, 'reading it back finds nothing to decide') or diag $push->value("SELECT string_agg(path || local_value || shopify_value, E'\\n') FROM sync.conflict WHERE product_id = $new");
is($push->value("SELECT images -> 0 ->> 'src' FROM sync.product WHERE id = $new"), 'https://example.com/b.jpg', 'our addresses stay ours');
is($push->state($push->up), 'complete nothing differs', 'nor to send');
$push->sql("DELETE FROM sync.variant WHERE sku = 'MH-2'");
$push->pull('full');
is($push->value("SELECT count(*) FROM sync.variant WHERE sku = 'MH-2'"), 0, 'a variant that was deleted here does not come back from the shop');
$run = $push->up;
is($push->value("SELECT flags::text || (SELECT string_agg(path, ' ') FROM sync.staging_field f WHERE f.staging_id = s.id) FROM sync.staging s WHERE run_id = $run"), '{variant_removed}variants[MH-2]',
	'deleting it there waits for a person') or diag $push->story($run);
$push->sql("SELECT sync_approve_where('{\"run_id\": $run}', NULL, dry_run => false)");
$push->work;
is_deeply([ map { $_->{sku} } @{ $shop->product($push->remote($new))->{variants} } ], [ 'MH-1', 'MH-3' ], 'and is done') or diag $push->story($run);
is($push->state($push->up), 'complete nothing differs', 'once');
is($push->value("SELECT base_gone FROM sync.product_listing WHERE product_id = $new"), '{}', 'and is agreed on');

# ---- by itself ---------------------------------------------------------------------------------------------------------------------------------

$push->sql("UPDATE sync.connection SET settings = settings || '{\"push_after_changes\": \"true\", \"push_debounce\": \"0\"}'");
$mark = $push->mark;
$push->sql("UPDATE sync.variant SET price = price + $_ WHERE product_id = 20") for 1 .. 3;
$push->work;
is($push->apart('product_id = 20'), '', 'a price that is edited is in the shop soon');
is($push->calls($mark)->{productVariantsBulkUpdate}, 1, 'three edits in one call');

$shop->blameless;
done_testing();

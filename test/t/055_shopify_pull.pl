# Reading a shop with background workers, against the double: whole by a bulk operation, what changed by pages, one product; cut off,
# throttled, with old tokens and missing scopes.  Nothing is lost, nothing is taken for deleted that is there, and Shopify understands
# each query.
use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use ProductSync::Cluster;
use ProductSync::Proxy;
use ProductSync::Shopify;

my $node = ProductSync::Cluster->start_new('main');
my $shop = ProductSync::Shopify->start(products => 600, variants => 2);
my %fast = (overlap => '2 seconds', webhook_debounce => '0.1 seconds', shop_creates => 'skip', max_change_share => 1);
$node->shopify($shop, grant => 1, %fast);

sub value { return $node->value(@_) }
sub start { my ($mode) = @_; return value("SELECT sync_run_shopify_down('" . ($mode // 'auto') . "')") }

# Reads the shop; returns the state of the run in which it rests.
sub pull
{
	my ($mode) = @_;
	my $run = start($mode);
	my $state = $node->wait_run($run, undef, 120);
	diag($node->story($run)) if $state ne 'complete';
	return $state;
}
sub reading { my ($what) = @_; return value("SELECT $what FROM sync.shopify_crawl ORDER BY id DESC LIMIT 1") }
sub settings { my %new = @_; $node->shopify($shop, grant => 1, %fast, %new) }
sub there { my %is = map { $_->{id} => 1 } @{ $shop->products }; return grep { $is{$_} } @_ }
sub until_true
{
	my ($sql, $what) = @_;
	for (1 .. 600)
	{
		return pass($what) if value($sql) eq 't';
		sleep 0.05;
	}
	return fail("$what: $sql");
}

# The shop and its mirror, product by product, in the same words.
sub differences
{
	my %there = map {
		my $p = $_;
		$p->{id} => join ' ', $p->{title}, map {
			my $v = $_;
			($v->{id}, $v->{sku}, 0 + $v->{price}, map { "$_=$v->{stock}{$_}{available}" } sort keys %{ $v->{stock} })
		} sort { $a->{id} <=> $b->{id} } @{ $p->{variants} }
	} @{ $shop->products };
	my %here = map { split /\|/, $_, 2 } split /\n/, value(<<'END');
SELECT m.remote_id || '|' || (m.document ->> 'title') || coalesce(' ' || (SELECT string_agg(concat_ws(' ', v.key, v.value ->> 'sku', (v.value ->> 'price')::float8,
		(SELECT string_agg(s.location_id || '=' || s.available, ' ' ORDER BY s.location_id::text) FROM sync.shopify_stock s
		 WHERE s.inventory_item_id = (m.variants #>> ARRAY[v.key, 'inventory_item'])::bigint)), ' ' ORDER BY v.key::bigint) FROM jsonb_each(m.document -> 'variants') v), '')
FROM sync.shopify_product m WHERE m.gone_since IS NULL
END
	my @differ = grep { ($there{$_} // 'none') ne ($here{$_} // 'none') } sort keys %{ { %there, %here } };
	return join "\n", map { "$_: shop " . ($there{$_} // 'none') . ', here ' . ($here{$_} // 'none') } @differ[0 .. ($#differ > 4 ? 4 : $#differ)];
}

# The first reading is a whole one, by a bulk operation.
is(pull(), 'complete', 'the first run completes');
is(differences(), '', 'the whole shop is here');
is(reading("mode || ' ' || complete || ' ' || products || ' ' || expected"), 'full true 600 600', 'by a bulk operation, all that it counted');
is($shop->effects->{mutations}{bulkOperationRunQuery}, 1, 'one');
is($shop->effects->{tokens}, 1, 'one token was fetched');
is(value("SELECT currency || ' ' || domain FROM sync.shopify_shop"), 'USD test-shop.myshopify.com', 'the shop is known');
is(value("SELECT string_agg(name, ', ' ORDER BY name) FROM sync.shopify_location"), 'Main Warehouse, Toronto', 'and its locations');
is(value("SELECT count(*) FROM sync.shopify_bulk_line"), 0, 'no line is left');
is(value("SELECT count(*) FROM pg_ls_dir(current_setting('product_sync.spool_directory') || '/' || (SELECT oid FROM pg_database WHERE datname = 'postgres')) f WHERE f LIKE 'shopify%'"), 0, 'no file either');

# What changed, by pages; deletions by events.
my @ids = map { $_->{id} } @{ $shop->products };
$shop->reset;
$shop->edit(map { { product => $_, set => { title => "Changed $_" } } } @ids[0 .. 299]);
$shop->edit({ product => $ids[300], delete => 1 }, { product => $ids[301], variants => { $shop->product($ids[301])->{variants}[0]{sku} => { stock => { Toronto => 77 } } } });
$shop->edit({ add => { title => 'Brand new', variants => [ { sku => 'NEW-1', price => '3.50' } ] } });
is(pull(), 'complete', 'a delta completes');
is(reading("mode || ' ' || complete"), 'delta true', 'it is one');
is(differences(), '', 'it brings changes, what is new, stock, and what is gone');
is(value("SELECT gone_evidence FROM sync.shopify_product WHERE remote_id = $ids[300]"), 'event', 'gone by an event that a look-up confirmed');
cmp_ok($shop->effects->{queries}{products}, '<=', 14, 'in few pages');
is($shop->effects->{tokens}, 0, 'with the token that is there');

# Nothing changed: nothing is due.
is(pull('delta'), 'complete', 'another delta');
is(reading('changed'), 0, 'finds nothing');

# Throttled, and with each request failing now and then: slower, but complete, and throttling costs no attempt.
$shop->reset;
$shop->control(throttle_next => 4, internal_error_next => 1, status_next => [ 502, 429 ], retry_after => 1, drop_next => 1, truncate_next => 1, invalid_json_next => 1);
$shop->edit(map { { product => $_, set => { vendor => "Vendor $_" } } } @ids[0 .. 99]);
is(pull('delta'), 'complete', 'through throttling and faults');
is(differences(), '', 'nothing is missing');

# A bucket that is nearly empty: the cost is known before, so hardly anything is refused.
$shop->reset;
$shop->control(fill_bucket => 700, restore_rate => 400);
settings(shopify_page_size => 20);
$shop->edit(map { { product => $_, set => { vendor => "Other $_" } } } @ids[0 .. 199]);
is(pull('delta'), 'complete', 'with few points');
cmp_ok($shop->effects->{throttled}, '<=', 1, 'throttled once at most');
is(differences(), '', 'nothing is missing then either');
settings();
$shop->control(restore_rate => 100, fill_bucket => JSON::PP::true);

# A token that ended is renewed, once; a wrong secret pauses the shop.
$shop->reset;
$shop->control(expire_tokens => JSON::PP::true);
$shop->edit({ product => $ids[5], set => { title => 'After the token' } });
is(pull('delta'), 'complete', 'a token that ended is renewed');
is($shop->effects->{tokens} . ' ' . $shop->effects->{unauthorized}, '1 1', 'after one refusal');
is(differences(), '', 'and the run goes on');
is(value("SELECT count(*) FROM sync.notification WHERE kind = 'shopify_paused'"), 0, 'nobody is told');
my $token_file = value("SELECT count(*) FROM sync.job_history WHERE kind = 'shopify_token'");
$shop->control(token_seconds => 2, expire_tokens => JSON::PP::true);
is(pull('delta'), 'complete', 'tokens of two seconds');
sleep 2.1;
$shop->reset;
is(pull('delta'), 'complete', 'are renewed');
is($shop->effects->{unauthorized}, 0, 'before they are refused');
$shop->control(token_seconds => 86399, expire_tokens => JSON::PP::true, client_secret => 'another');
my $run = start('delta');
until_true("SELECT coalesce(sync.paused('shopify') IS NOT NULL, false)", 'a secret that is not valid any more pauses the shop');
like(value("SELECT message FROM sync.notification WHERE kind = 'shopify_paused' ORDER BY id DESC LIMIT 1"), qr/gives no token \(400: invalid_client\)/, 'and says why');
$shop->control(client_secret => $shop->{client_secret});
value("SELECT sync_resume('shopify')");
is($node->wait_run($run), 'complete', 'the run goes on once that is mended');

# A frozen shop, a scope that is gone: paused, and what came as null is not taken for deleted.
for my $status (402, 403, 423, 430)
{
	$shop->control(status_next => [$status]);
	$run = start('delta');
	until_true("SELECT coalesce(sync.paused('shopify') LIKE '%$status%', false)", "status $status pauses the shop");
	value("SELECT sync_resume('shopify')");
	is($node->wait_run($run), 'complete', 'and it goes on');
}
$shop->edit({ product => $ids[6], set => { title => 'With a scope missing' } });
$shop->control(denied => { 'ProductVariant.inventoryItem' => 'read_inventory' });
$run = start('delta');
until_true("SELECT coalesce(sync.paused('shopify') LIKE '%read_inventory%', false)", 'a scope that is missing is named');
is(value("SELECT count(*) FROM sync.shopify_product WHERE gone_since IS NOT NULL"), 1, 'nothing is taken for gone');
$shop->control(denied => {});
value("SELECT sync_resume('shopify')");
is($node->wait_run($run), 'complete', 'with the scope it goes on');
is(differences(), '', 'and all is here');

# Another version answers: told of once.
$shop->control(api_version => '2027-01');
is(pull('delta'), 'complete', 'another version answers');
is(pull('delta'), 'complete', 'again');
is(value("SELECT string_agg(details ->> 'answered', ' ') FROM sync.notification WHERE kind = 'shopify_version'"), '2027-01', 'it is told of once');
$shop->control(api_version => '');

# A search index that runs behind, and many products of one second.
$shop->control(index_hold => JSON::PP::true);
$shop->edit(map { { product => $_, set => { title => "Behind $_" } } } @ids[10 .. 29]);
is(pull('delta'), 'complete', 'the index has not seen it');
$shop->control(index_advance => 10);
is(pull('delta'), 'complete', 'then half of it');
$shop->control(index_hold => JSON::PP::false, index_advance => JSON::PP::true);
is(pull('delta'), 'complete', 'then all');
is(differences(), '', 'nothing was passed by');

# One product, as after a webhook.
$shop->edit({ product => $ids[40], set => { title => 'Told by a webhook' } }, { product => $ids[41], delete => 1 });
value("SELECT sync.shopify_product_fetch('shopify', $ids[40]), sync.shopify_product_fetch('shopify', $ids[41], 1, 'webhook')");
until_true("SELECT count(*) = 2 FROM sync.shopify_product WHERE (document ->> 'title' = 'Told by a webhook') OR (remote_id = $ids[41] AND gone_evidence = 'webhook')", 'one product is read by itself');
until_true("SELECT count(*) > 0 AND bool_and(NOT active) FROM sync.run WHERE context ->> 'mode' = 'pending'", 'and a run without reading merges it');

# Cut off by the death of the server's processes, again and again: it goes on where it was.
$shop->edit(map { { product => $_, set => { title => "Cut $_" } } } there(@ids[50 .. 399]));
settings(shopify_page_size => 8);
$shop->control(latency_ms => 40, restore_rate => 1000);
$run = start('delta');
for my $times (1 .. 3)
{
	sleep 0.7;
	kill 'KILL', (($node->workers)[0] // next);
	sleep 0.5 until eval { $node->value('SELECT true') eq 't' };
}
is($node->wait_run($run), 'complete', 'killed three times, it completes');
is(reading('pages > 40 AND complete'), 't', 'page by page');
is(differences(), '', 'nothing is lost');
$shop->control(latency_ms => 0);

# Cancelled in the middle, the next run goes on at its cursor.
$shop->edit(map { { product => $_, set => { title => "Again $_" } } } there(@ids[50 .. 399]));
$shop->control(latency_ms => 50);
$run = start('delta');
until_true("SELECT pages > 5 AND NOT complete FROM sync.shopify_crawl ORDER BY id DESC LIMIT 1", 'it reads');
value("SELECT sync_cancel($run)");
$shop->control(latency_ms => 0);
my $crawl = reading('id');
is(pull('delta'), 'complete', 'the run after a cancelled one');
is(reading('id'), $crawl, 'goes on with its reading');
is(differences(), '', 'to the end');
settings();
$shop->control(restore_rate => 100);

# More variants than a page shows.
$shop->edit({ product => $ids[60], add_variants => [ map { { sku => "MANY-$_", price => $_ } } 1 .. 300 ] });
is(pull('delta'), 'complete', 'a product with 302 variants');
is(value("SELECT count(*) FROM sync.shopify_product, jsonb_object_keys(variants) WHERE remote_id = $ids[60]"), 302, 'has them all');
is(differences(), '', 'as they are');

# Whole again: through a bulk operation that fails, one that is in the way, a download that breaks off; what a failed one had is not believed.
$shop->reset;
$shop->edit({ product => $ids[70], delete => 1 });
value("DELETE FROM sync.shopify_product WHERE remote_id = $ids[71]");
$shop->control(bulk_next => [ 'FAILED', 'CANCELED' ]);
is(pull('full'), 'complete', 'through failed bulk operations');
is(differences(), '', 'all is here');
is(value("SELECT gone_evidence FROM sync.shopify_product WHERE remote_id = $ids[70]"), 'full_read', 'and what is gone is known by the whole reading');
$shop->control(bulk_next => [ ('FAILED') x 3 ]);
$run = start('full');
is($node->wait_run($run, ['error', 'retry_wait']) =~ /error|retry_wait/ ? 1 : 0, 1, 'three failures are a failure');
value("SELECT sync_cancel($run)");
$shop->control(bulk_next => []);
is(value("SELECT count(*) FROM sync.shopify_product WHERE gone_since IS NOT NULL"), 3, 'nothing more is gone');

# The answer to the start of a bulk operation is lost: no second one is started.
$shop->reset;
$shop->control(latency_ms => 1000);
$run = start('full');
until_true("SELECT count(*) = 1 FROM sync.job WHERE kind = 'shopify_bulk_start' AND lease_owner IS NOT NULL", 'a bulk operation is asked for');
$shop->control(truncate_next => 1);
until_true("SELECT count(*) = 1 FROM sync.job WHERE kind = 'shopify_bulk_start' AND last_error IS NOT NULL", 'its answer is lost');
$shop->control(latency_ms => 0);
is($node->wait_run($run), 'complete', 'the run completes');
is($shop->effects->{mutations}{bulkOperationRunQuery}, 1, 'with the one that was started');

# Children apart from their parents, and a worker that dies while products are put together.
settings(bulk_batch_products => 50);
$shop->control(bulk_adjacent => JSON::PP::false);
$shop->edit(map { { product => $_, set => { title => "Bulk $_" } } } there(@ids[100 .. 399]));
$run = start('full');
until_true("SELECT count(*) > 0 FROM sync.shopify_bulk_line", 'lines are loaded');
kill 'KILL', grep { $_ } ($node->workers)[0];
sleep 0.5 until eval { $node->value('SELECT true') eq 't' };
is($node->wait_run($run), 'complete', 'the whole reading completes after a crash');
is(differences(), '', 'and all is here');
is(reading('products = expected AND complete'), 't', 'each product once');

$shop->blameless;
is(value("SELECT count(*) FROM sync.dead_letter WHERE payload ? 'url'"), 0, 'no signed address was kept');
is($node->log_lines('hush|shpat_'), 0, 'no secret in the log');
$node->stop;
done_testing();

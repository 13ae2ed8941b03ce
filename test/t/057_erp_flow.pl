# The ERP's flow from its API to what is to be sent: prices and stock that change there, what is low, readings that do not come to their
# end, a wrong key, and values that no shop should ever see.  And docs/xorosoft.md, followed word for word.
use strict;
use warnings;
use FindBin qw($RealBin);
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);
use ProductSync::Cluster;
use ProductSync::Xorosoft;

my $node = ProductSync::Cluster->start_new('main');
my $x = ProductSync::Xorosoft->start(count => 0);
my %fast = (requests_per_second => 500, mirror_full_every => '0', mirror_shrink_limit => 1, retry_wait => '1 second', run_attempts => 1);
sub settings { my %new = @_; $node->xorosoft($x, %fast, %new) }
sub value { return $node->value(@_) }
sub run { my $run = $node->start_xorosoft; return $node->wait_run($run, undef, 120) }
sub last_run { return value('SELECT max(id) FROM sync.run') }
sub message { return value('SELECT message FROM sync.run ORDER BY id DESC LIMIT 1') }
sub price { return value("SELECT trim_scale(price) FROM sync.variant WHERE sku = '$_[0]'") }
sub item
{
	my ($no, $price, $cost, $stock, %more) = @_;
	return { ItemNumber => $no, Title => $no, StandardUnitPrice => $price, StandardUnitCost => $cost,
		Stores => [ { StoreId => 1, StoreName => 'Main', OnHandQty => $stock } ], %more };
}

settings();
value(<<'END');
INSERT INTO sync.product (id, handle, title) SELECT n, 'p' || n, 'Product ' || n FROM generate_series(1, 300) n;
INSERT INTO sync.variant (product_id, sku, price, cost) SELECT n, 'CWS-' || n, 20, 10 FROM generate_series(1, 300) n;
END
$x->put(map { item("CWS-$_", 20, 10, 50) } 1 .. 300);
is(run(), 'complete', 'the first run');
is(message(), 'nothing differs', 'finds what is the same');
is(value('SELECT string_agg(state::text, \' \' ORDER BY id) FROM sync.run_phase'), 'idle xorosoft_validation staging_creation review_pending complete', 'by the states of the diagram');
is(value("SELECT done || '/' || total || ' ' || unit FROM sync.run_phase WHERE state = 'staging_creation'"), '300/300 variants', 'with its progress');

# A price that changes there is a version here.
$x->put(item('CWS-1', 22, 10, 50), item('CWS-2', 30, 10, 50));
is(run(), 'manual_review', 'two prices change');
is(price('CWS-1'), 22, 'the small change is applied');
is(price('CWS-2'), 20, 'the large one waits');
is(value("SELECT source || ' ' || changes FROM sync.product_version WHERE product_id = 1"), 'xorosoft {"variants[CWS-1].price": [20, 22]}', 'as a version of the ERP');
is(value('SELECT string_agg(state::text, \' \' ORDER BY id) FROM sync.run_phase WHERE run_id = ' . last_run()),
	'idle xorosoft_validation staging_creation review_pending auto_approval syncing manual_review', 'each transition is there');
value("UPDATE sync.staging SET decision = 'approved' WHERE state = 'open'");
is($node->wait_run(last_run(), ['complete'], 60), 'complete', 'a person approves');
is(price('CWS-2'), 30, 'and it is applied');
value("UPDATE sync.variant SET price = 21 WHERE sku = 'CWS-1'");
is(run(), 'complete', 'a price that was set here on purpose');
is(price('CWS-1'), 21, 'stays, as long as the ERP does not move');

# A reading that does not come to its end stages nothing, whatever it has read.
value("UPDATE sync.job_kind SET max_attempts = 2, backoff_base = '10 ms' WHERE kind LIKE 'xorosoft%'");
$x->put(map { item("CWS-$_", 23, 10, 5) } 3 .. 10);
$x->control(fail_every => 2);
is(run(), 'error', 'a reading that fails');
is(value("SELECT count(*) FROM sync.staging WHERE run_id = " . last_run()), 0, 'stages nothing');
is(value('SELECT count(*) FROM sync.low_stock'), 0, 'tells of no low stock');
$x->control(fail_every => 0);
is(run(), 'complete', 'the next one');
is(price('CWS-7'), 23, 'takes it over');
is(value("SELECT count(*) || ' ' || (min(details ->> 'variants')) FROM sync.notification WHERE kind = 'low_stock'"), '1 8', 'low stock is told of, in one word where it is many');
is(run(), 'complete', 'again');
is(value("SELECT count(*) FROM sync.notification WHERE kind = 'low_stock'"), 1, 'once');
is(value("SELECT count(*) FROM sync.low_stock WHERE cleared_at IS NULL AND notified_at IS NOT NULL"), 8, 'and is there to be seen');
$x->put(item('CWS-3', 23, 10, 40));
run();
$x->put(item('CWS-3', 23, 10, 10));
run();
is(value("SELECT message FROM sync.notification WHERE kind = 'low_stock' ORDER BY id DESC LIMIT 1"), 'Low stock: 10 of CWS-3 (Product 3), no more than 10.', 'once more after it has risen');

# A wrong key.
$node->secret('xorosoft', 'wr0ng-s3cret');
$x->put(item('CWS-11', 19, 10, 50));
is(run(), 'error', 'a wrong key ends the run');
is(value("SELECT count(*) FROM sync.staging WHERE run_id = " . last_run()), 0, 'and stages nothing');
is($node->log_lines('wr0ng'), 0, 'nothing tells the key');
settings();
is(run(), 'complete', 'with the right one');
is(price('CWS-11'), 19, 'it goes on');

# Values that no shop should see.
$x->put(item('CWS-20', 0, 10, 50), item('CWS-21', -5, 10, 50), item('CWS-22', 'NaN', 10, 50), item('CWS-23', 123456789012, 10, 50), item('CWS-24', 9, 10, 50),
	item('CWS-25', 21, 10, -3), item('CWS26', 22, 10, 50), item('CWS-27', 21, 10, 50, ActiveFlag => JSON::PP::false), item('CWS-28', 1e300, 10, 50));
is(run(), 'manual_review', 'with prices that cannot be');
is(value("SELECT string_agg(s.sku || ' ' || array_to_string(s.flags, ' '), ', ' ORDER BY s.sku) FROM sync.staging s WHERE s.state = 'open'"),
	'CWS-20 below_cost large_change zero_price, CWS-24 below_cost large_change, CWS-27 inactive_in_erp', '0, below the cost and not sold are for people');
is(value("SELECT string_agg(sku || ' ' || problems, ', ' ORDER BY sku) FROM sync.erp_findings"),
	'CWS-21 price_negative, CWS-23 price_too_large, CWS-27 inactive', 'others are refused, each with its reason');
is(value("SELECT (counts ->> 'negative') || ' ' || (counts ->> 'too_large') FROM sync.run WHERE id = " . last_run()), '1 1', 'and counted');
is(join(' ', map { price("CWS-$_") } 20 .. 28), '20 20 20 20 20 21 20 20 20', 'only what is sound is here');
is(value("SELECT sellable FROM (SELECT sync.sellable(available) AS sellable FROM sync.xorosoft_stock WHERE item_number = 'CWS-25') s"), 0, 'what is owed is none to sell');

# A shop's sale starts a run of the ERP, once.
value(<<'END');
INSERT INTO sync.connection (name, kind, base_url) VALUES ('shop', 'shopify', 'http://127.0.0.1:9/');
INSERT INTO sync.shopify_location (connection, remote_id, name, store) VALUES ('shop', 7, 'Main', 'Main');
INSERT INTO sync.shopify_product (connection, remote_id, document, variants, remote_updated_at, merge_due) VALUES ('shop', 50, '{"title": "Product 50", "variants": {}}', '{"500": {"tracked": true, "policy": "deny"}}', now(), false);
INSERT INTO sync.product_listing (connection, product_id, remote_id, merged_at) VALUES ('shop', 50, 50, now());
INSERT INTO sync.listing (connection, product_listing_id, variant_id, remote_id, inventory_item_id) SELECT 'shop', l.id, v.id, 500, 500 FROM sync.product_listing l JOIN sync.variant v ON v.product_id = l.product_id;
INSERT INTO sync.shopify_stock (connection, inventory_item_id, location_id, available, remote_updated_at) VALUES ('shop', 500, 7, 50, now() - interval '1 hour');
SELECT sync.shop_stock_merge(NULL, 'shop', NULL);
END
my $before = last_run();
value("UPDATE sync.shopify_stock SET available = 4, remote_updated_at = now()");
value("SELECT sync.shop_stock_merge(NULL, 'shop', NULL)");
for (1 .. 200) { last if last_run() > $before; sleep 0.05 }
is(value('SELECT kind || \' \' || trigger FROM sync.run ORDER BY id DESC LIMIT 1'), 'xorosoft low_stock', 'a sale down to 4 starts a run of the ERP');
my $run = last_run();
is($node->wait_run($run, undef, 60), 'complete', 'which reads it');
for (1 .. 200) { last if value("SELECT count(*) FROM sync.job WHERE kind = 'shopify_stock_merge'") == 0; sleep 0.05 }
is(value("SELECT local FROM sync.stock_level"), 4, 'the ERP has not moved, so the sale stands');
# The ERP's number rises, and was read after the sale: it is what is to be sent.  A rule keeps some of it.
value("INSERT INTO sync.stock_rule (name, safety_stock, maximum) VALUES ('keep', 5, 40)");
$x->put(item('CWS-50', 20, 10, 48));
is(run(), 'complete', 'the ERP counts 48');
for (1 .. 200) { last if value("SELECT count(*) FROM sync.shop_outbox('shop') WHERE location_id IS NOT NULL") == 1; sleep 0.05 }
is(value("SELECT concat_ws(' ', shopify_value, local_value) FROM sync.shop_outbox('shop') WHERE location_id IS NOT NULL"), '4 40', 'the shop is offered what the rule makes of it');
is(value("SELECT concat_ws(' ', erp, sellable) FROM sync.stock_level"), '48 40', 'the ERP\'s own number is kept');

# The page, word for word.
$node->value("DELETE FROM sync.stock_rule; UPDATE sync.connection SET enabled = false WHERE kind = 'xorosoft'");
$node->secret('erp', $x->{secret});
my $docs = slurp_file("$RealBin/../../docs/xorosoft.md");
my $base = $x->base_url;
for my $block (grep { !/^available/ } $docs =~ /^    (\S.*(?:\n    \S.*)*)$/mg)
{
	next if $block =~ /^idle/;
	$block =~ s{https://res\.xorosoft\.io/api/xerp/}{$base};
	my ($ret, $out, $err) = $node->psql('postgres', $block, on_error_stop => 1, timeout => 120);
	is($ret, 0, "it works: $block") or diag($err);
}
my $flags = join '|', $docs =~ /^\| `(\w+)` \|/mg;
like($flags, qr/\b$_\b/, "the page tells of $_") for qw(first_comparison large_change zero_price below_cost not_automatic inactive_in_erp gtin_differs gone ambiguous);

$node->stop;
done_testing();

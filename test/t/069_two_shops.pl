# Two shops on one catalogue, read at the same time: a product that both have is one here, what changes in one is to be sent to the other,
# and neither waits for the other.  And a connection that is disabled, renamed or deleted while it is being read.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);
use ProductSync::Cluster;
use ProductSync::Shopify;

my $node = ProductSync::Cluster->start_new('main', conf => 'product_sync.max_workers = 4');
my %shop = map { $_ => ProductSync::Shopify->start(products => 300, variants => 2, throttle => 'false', shop_domain => "$_.myshopify.com") } qw(east west);
my %fast = (overlap => '2 seconds', webhook_debounce => '0.1 seconds', max_change_share => 1, bulk_batch_products => 40, merge_batch_products => 40,
	shopify_page_size => 20, retry_wait => '1 second', run_attempts => 3);
$node->shopify($shop{$_}, name => $_, %fast) for sort keys %shop;

sub value { return $node->value(@_) }
sub start { my ($name, $mode) = @_; return value("SELECT sync_run_shopify_down('" . ($mode // 'delta') . "', '$name')") }

# Reads both shops at the same time; returns the states in which the runs rest.
sub pull
{
	my ($mode) = @_;
	my @runs = map { start($_, $mode) } sort keys %shop;
	my @states = map { $node->wait_run($_, undef, 120) } @runs;
	for my $k (0, 1) { diag($node->story($runs[$k])) if $states[$k] ne 'complete' }
	return "@states";
}
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

# Fields in which a shop, its mirror and the catalogue are not of one opinion.
sub differences
{
	my ($name) = @_;
	my %there = map { my $p = $_; map { ($_->{sku} => join ' ', $p->{title}, $p->{vendor}, 0 + $_->{price}) } @{ $p->{variants} } } @{ $shop{$name}->products };
	my %here = map { split /\|/, $_, 2 } split /\n/, value(
		"SELECT v.sku || '|' || concat_ws(' ', p.title, p.vendor, trim_scale(v.price)) FROM sync.listing l JOIN sync.variant v ON v.id = l.variant_id JOIN sync.product p ON p.id = v.product_id WHERE l.connection = '$name'");
	my @differ = grep { ($there{$_} // 'none') ne ($here{$_} // 'none') } sort keys %{ { %there, %here } };
	return join "\n", map { "$_: shop " . ($there{$_} // 'none') . ', here ' . ($here{$_} // 'none') } @differ[0 .. ($#differ > 4 ? 4 : $#differ)];
}

# The first load of both at once: the same 300 products.
like(pull('full'), qr/^(complete|manual_review) (complete|manual_review)$/, 'both shops are read for the first time, at once');
pull('delta');
is(value('SELECT count(*) FROM sync.product'), 300, 'what both have is one product here');
is(value("SELECT string_agg(connection || ' ' || n, ', ' ORDER BY connection) FROM (SELECT connection, count(*) AS n FROM sync.product_listing GROUP BY 1) l"),
	'east 300, west 300', 'linked to both');
is(value("SELECT count(*) FROM sync.staging WHERE state = 'open'"), 0, 'nobody is asked') or diag(value("SELECT string_agg(concat_ws(' ', connection, kind, reason, flags), E'\n') FROM (SELECT * FROM sync.staging WHERE state = 'open' LIMIT 5) s"));
is(differences($_), '', "$_ and the catalogue are of one opinion") for sort keys %shop;
is($node->log_lines('deadlock detected'), 0, 'without a deadlock');

# Each shop changes its half, both change the same field of some.
my %id = map { my $name = $_; ($name => { map { ($_->{variants}[0]{sku} => $_->{id}) } @{ $shop{$name}->products } }) } keys %shop;
my @skus = sort keys %{ $id{east} };
$shop{east}->edit(map { { product => $id{east}{$_}, set => { title => "East $_" } } } @skus[0 .. 99]);
$shop{west}->edit(map { { product => $id{west}{$_}, set => { vendor => "West $_" } } } @skus[0 .. 149]);
my $offset = $node->log_end;
is(pull('delta'), 'complete complete', 'both change other fields of the same products, and are read at once');
is(value("SELECT count(*) FROM sync.product WHERE title LIKE 'East%'"), 100, 'no edit of one is lost');
is(value("SELECT count(*) FROM sync.product WHERE vendor LIKE 'West%'"), 150, 'nor of the other');
is(value("SELECT count(*) || ' ' || count(*) FILTER (WHERE path = 'title' AND local_value ->> 0 LIKE 'East%') FROM sync.shop_outbox('west')"), '100 100', 'what east changed is to be sent to west');
is(value("SELECT count(*) || ' ' || count(*) FILTER (WHERE path = 'vendor' AND local_value ->> 0 LIKE 'West%') FROM sync.shop_outbox('east')"), '150 150', 'and the other way round');
is(value('SELECT count(*) FROM sync.conflict'), 0, 'there is no conflict');
is(value('SELECT count(*) FROM sync.product p WHERE version <> (SELECT max(v.version) FROM sync.product_version v WHERE v.product_id = p.id)'), 0, 'versions are counted on');
is($node->log_lines('deadlock detected', $offset), 0, 'without a deadlock');

# The ERP's stock is of both: all levels of both shops are compared while products are merged.
value(<<'END');
INSERT INTO sync.connection (name, kind, base_url) VALUES ('erp', 'xorosoft', 'http://127.0.0.1/');
UPDATE sync.shopify_location SET store = 'Main' WHERE name = 'Main Warehouse';
INSERT INTO sync.xorosoft_item (connection, item_number, item_key) SELECT 'erp', sku, sync.item_key(sku) FROM sync.variant;
INSERT INTO sync.xorosoft_stock (connection, item_number, store, on_hand, available) SELECT 'erp', sku, 'Main', 5000, 5000 FROM sync.variant;
END
for my $round (1 .. 3)
{
	value("UPDATE sync.xorosoft_stock SET available = 5000 + $round");
	$shop{east}->edit(map { { product => $id{east}{$_}, set => { descriptionHtml => "East $round" } } } @skus);
	$shop{west}->edit(map { { product => $id{west}{$_}, set => { tags => ["west $round"] } } } @skus);
	is(pull('full'), 'complete complete', 'stock of both shops, and all their products, at once');
}
is(value("SELECT count(*) FILTER (WHERE n.local = 5003) || ' of ' || count(*) FROM sync.stock_level n JOIN sync.shopify_location o ON o.connection = n.connection AND o.remote_id = n.location_id AND o.store = 'Main'"),
	value("SELECT count(*) || ' of ' || count(*) FROM sync.shopify_stock s JOIN sync.shopify_location o ON o.connection = s.connection AND o.remote_id = s.location_id AND o.store = 'Main'"), 'all levels are the ERP\'s');
is($node->log_lines('deadlock detected', $offset), 0, 'without a deadlock');

# The same field, in both: the first that is merged is the catalogue's, the other is a conflict of its own shop.
$shop{$_}->edit({ product => $id{$_}{ $skus[200] }, set => { title => "Title of $_" } }) for sort keys %shop;
is(pull('delta'), 'complete complete', 'both change one field');
is(value("SELECT count(*) FROM sync.conflict WHERE state = 'open' AND path = 'title'"), 1, 'a person decides');
my ($other, $kept) = split /\|/, value("SELECT c.connection || '|' || (c.local_value ->> 0) FROM sync.conflict c WHERE c.state = 'open'");
value("SELECT sync_resolve(id, 'shopify') FROM sync.conflict WHERE state = 'open'");
until_true("SELECT title = 'Title of $other' FROM sync.product p JOIN sync.product_listing l ON l.product_id = p.id WHERE l.connection = '$other' AND l.remote_id = $id{$other}{$skus[200]}",
	"the person takes $other\'s");
my ($first) = grep { $_ ne $other } sort keys %shop;
is(value("SELECT concat_ws(' ', shopify_value, local_value) FROM sync.shop_outbox('$first') WHERE path = 'title' AND remote_id = $id{$first}{$skus[200]}"), "\"$kept\" \"Title of $other\"",
	"$first gets it");

# Disabled in the middle: the run ends and says why; what was read is not read again.
my $east = $shop{east};
$east->edit(map { { product => $id{east}{$_}, set => { productType => "Type $_" } } } @skus[0 .. 250]);
$east->control(latency_ms => 100);
my $run = start('east');
until_true("SELECT pages > 2 AND run_id = $run FROM sync.shopify_crawl WHERE connection = 'east' ORDER BY id DESC LIMIT 1", 'east is being read');
value("UPDATE sync.connection SET enabled = false WHERE name = 'east'");
is($node->wait_run($run), 'error', 'a connection that is disabled ends its run');
like(value("SELECT message FROM sync.notification WHERE kind = 'run_failed' ORDER BY id DESC LIMIT 1"), qr/"east" is (not enabled|no enabled)/, 'people are told why');
value("UPDATE sync.connection SET enabled = true WHERE name = 'east'");
is($node->wait_run(start('east')), 'complete', 'enabled again, it is read');
is(value("SELECT count(*) FROM sync.product WHERE type LIKE 'Type %'"), 251, 'to the end');

# Renamed in the middle, with a conflict that waits for a person.
value("UPDATE sync.product p SET title = 'Ours' FROM sync.product_listing l WHERE l.product_id = p.id AND l.connection = 'east' AND l.remote_id = $id{east}{$skus[290]}");
$east->edit({ product => $id{east}{ $skus[290] }, set => { title => 'Theirs' } });
is($node->wait_run(start('east')), 'complete', 'one more conflict');
$east->edit(map { { product => $id{east}{$_}, set => { productType => "Kind $_" } } } @skus[0 .. 250]);
$run = start('east');
until_true("SELECT pages > 2 AND run_id = $run FROM sync.shopify_crawl WHERE connection = 'east' ORDER BY id DESC LIMIT 1", 'east is being read');
value("SELECT sync.job_enqueue('shopify_product', NULL, '{\"connection\": \"east\", \"remote_id\": 1}', 'east/1', now() + interval '1 hour')");
value("UPDATE sync.connection SET name = 'orient' WHERE name = 'east'");
is($node->wait_run($run), 'complete', 'a connection that is renamed goes on') or diag($node->story($run));
is(value("SELECT count(*) FROM sync.product WHERE type LIKE 'Kind %'"), 251, 'to the end');
$east->control(latency_ms => 0);
$east->edit({ product => $id{east}{ $skus[3] }, set => { productType => 'After' } });
is($node->wait_run(start('orient')), 'complete', 'and is read by its new name');
is(value("SELECT count(*) FROM sync.product WHERE type = 'After'"), 1, 'as ever');
is(value("SELECT count(*) FILTER (WHERE payload ->> 'connection' = 'east') || ' ' || max(key) FROM sync.job"), '0 orient/1', 'what waits has the new name');
is(value("SELECT attempt FROM sync.run WHERE id = $run"), 1, 'nothing had to be tried again');
is(value("SELECT (SELECT count(*) FROM sync.conflict WHERE connection = 'east') + (SELECT count(*) FROM sync.staging WHERE connection = 'east') + (SELECT count(*) FROM sync.product_version WHERE source = 'east')"), 0, 'nor has what people see the old one');
value("SELECT sync_resolve(id, 'shopify') FROM sync.conflict WHERE state = 'open' AND local_value = '\"Ours\"'");
until_true("SELECT count(*) = 1 FROM sync.product WHERE title = 'Theirs'", 'the conflict is decided by the new name');

# Deleted in the middle: not with a history, and it says what to do.
$run = start('orient');
my ($ret, $out, $err) = $node->psql('postgres', "DELETE FROM sync.connection WHERE name = 'orient'");
isnt($ret, 0, 'a connection that was read is not deleted');
is($node->wait_run($run), 'complete', 'and its run goes on');
$_->blameless for values %shop;
is($node->log_lines('deadlock detected'), 0, 'no deadlock at all');
is($node->log_lines('PANIC|terminated by signal'), 0, 'nothing crashed');
$node->stop;
done_testing();

# Products that do not fit where most do: 2,048 variants, hundreds of images and metafields, a currency without decimals, and one that
# cannot be used at all.  Each is read whole by a page, a bulk operation and a look-up of its own, and none keeps the others out.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);
use ProductSync::Cluster;
use ProductSync::Shopify;

my $node = ProductSync::Cluster->start_new('main');
my $shop = ProductSync::Shopify->start(products => 20, variants => 2, currency => 'JPY', throttle => 'false');
$node->shopify($shop, overlap => '2 seconds', webhook_debounce => '0.1 seconds', max_change_share => 1, retry_wait => '1 second', run_attempts => 2);

sub value { return $node->value(@_) }
sub pull
{
	my ($mode) = @_;
	my $run = value("SELECT sync_run_shopify_down('" . ($mode // 'delta') . "')");
	my $state = $node->wait_run($run, undef, 120);
	diag($node->story($run)) if $state !~ /complete|manual_review/;
	return $state;
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

# The same variants with the same prices, as text, in the shop, the mirror and the catalogue?
sub prices
{
	my ($id) = @_;
	my $there = join ',', sort map { "$_->{sku}=" . (0 + $_->{price}) } @{ $shop->product($id)->{variants} };
	my $mirror = join ',', sort split /\n/, value("SELECT (v ->> 'sku') || '=' || trim_scale((v ->> 'price')::numeric) FROM sync.shopify_product m, jsonb_each(m.document -> 'variants') e (k, v) WHERE m.remote_id = $id");
	my $here = join ',', sort split /\n/, value("SELECT v.sku || '=' || trim_scale(v.price) FROM sync.variant v JOIN sync.product_listing l ON l.product_id = v.product_id WHERE l.remote_id = $id");
	return join ', ', ($mirror eq $there ? () : 'the mirror differs'), ($here eq $there ? () : 'the catalogue differs');
}

is(pull('auto'), 'complete', 'the first load');
my @ids = map { $_->{id} } @{ $shop->products };

# 2,048 variants.
my $big = $shop->edit({ add => { title => 'Every size', options => [ { name => 'Size', values => [] } ],
	variants => [ map { { sku => "BIG-$_", price => 1000 + $_, options => [$_] } } 1 .. 2048 ] } })->{id};
is(pull(), 'complete', 'a product with 2,048 variants comes in a page');
is(prices($big), '', 'it is here with all of them');
$shop->edit({ product => $big, variants => { map { ("BIG-$_" => { price => 3000 + $_ }) } 1 .. 2048 } });
is(pull('full'), 'complete', 'it changes, and comes by a bulk operation');
is(prices($big), '', 'all of it');
$shop->edit({ product => $big, variants => { map { ("BIG-$_" => { price => 5000 + $_ }) } 1 .. 2048 } });
value("SELECT sync.shopify_product_fetch('shopify', $big)");
until_true("SELECT bool_and(v.price > 5000) FROM sync.variant v WHERE v.sku LIKE 'BIG-%'", 'it changes, and is read by itself');
is(prices($big), '', 'all of it then too');
$shop->edit({ product => $big, remove_variants => [ map { "BIG-$_" } 1025 .. 2048 ] });
is(pull(), 'manual_review', 'half of them are deleted');
is(value("SELECT count(*) FROM sync.staging s JOIN sync.staging_field f ON f.staging_id = s.id WHERE s.state = 'open' AND f.new_value IS NULL"), 1024,
	'their deletion waits for a person');

# A currency without decimals.
is(value("SELECT DISTINCT currency FROM sync.variant"), 'JPY', 'prices are in yen');
my $sku = $shop->product($ids[0])->{variants}[0]{sku};
value("UPDATE sync.variant SET price = 1000 WHERE sku = '$sku'");
$shop->edit({ product => $ids[0], variants => { $sku => { price => '1000.40' } } });
pull();
is(value("SELECT count(*) FROM sync.conflict WHERE path = 'variants[$sku].price'"), 0, 'less than half a yen apart is the same price');
value("UPDATE sync.variant SET price = 2000 WHERE sku = '$sku'");
$shop->edit({ product => $ids[0], variants => { $sku => { price => '2001' } } });
pull();
is(value("SELECT price FROM sync.variant WHERE sku = '$sku'") + 0, 2001, 'a yen apart is another one, and less than 5 %');
value("UPDATE sync.variant SET price = 2000 WHERE sku = '$sku'");
$shop->edit({ product => $ids[0], variants => { $sku => { price => '0.40' } } });
pull();
is(value("SELECT rule FROM sync.conflict WHERE path = 'variants[$sku].price' AND state = 'open'"), 'zero_price', 'less than half a yen is nothing');

# Many images and metafields: more than a page shows, and more than a look-up shows at once.
my @images = map { { src => "https://cdn.example/$_.jpg", alt => "View $_" } } 1 .. 260;
my @metafields = map { { namespace => 'custom', key => "k$_", type => 'single_line_text_field', value => "v$_" } } 1 .. 270;
$shop->edit({ product => $ids[1], images => \@images, metafields => \@metafields });
pull();
is(value("SELECT jsonb_array_length(m.document -> 'images') || ' ' || (SELECT count(*) FROM jsonb_object_keys(m.document -> 'metafields') k WHERE k LIKE 'custom.k%') FROM sync.shopify_product m WHERE m.remote_id = $ids[1]"),
	'260 270', 'more images and metafields than a page shows are all here');
is(value("SELECT jsonb_array_length(p.images) || ' ' || (SELECT count(*) FROM jsonb_object_keys(p.metafields) k WHERE k LIKE 'custom.k%') FROM sync.product p JOIN sync.product_listing l ON l.product_id = p.id WHERE l.remote_id = $ids[1]"),
	'260 270', 'in the catalogue too');
pull('full');
is(value("SELECT jsonb_array_length(m.document -> 'images') FROM sync.shopify_product m WHERE m.remote_id = $ids[1]"), 260, 'a bulk operation finds the same');

# One that cannot be used: small, so that a page rejects it, then large, so that it is read by itself.
for my $size ('small', 'large')
{
	my $id = $size eq 'small' ? $ids[2] : $ids[3];
	$shop->edit({ product => $id, metafields => [ { namespace => 'custom', key => '', value => 'x' }, $size eq 'large' ? @metafields[0 .. 39] : () ], set => { title => 'Cannot be used' } },
		{ product => $ids[4], set => { title => "Beside a $size one" } });
	like(pull(), qr/complete|manual_review/, "a $size product that cannot be used does not fail the run");
	is(value("SELECT document ->> 'title' FROM sync.shopify_product WHERE remote_id = $ids[4]"), "Beside a $size one", 'what came beside it is here');
	is(value("SELECT complete FROM sync.shopify_crawl ORDER BY id DESC LIMIT 1"), 't', 'the reading is complete');
	is(value("SELECT details -> 'products' @> '$id' FROM sync.notification WHERE kind = 'shopify_rejects' ORDER BY id DESC LIMIT 1"), 't', 'people are told which it is');
	is(value("SELECT document ->> 'title' = 'Cannot be used' FROM sync.shopify_product WHERE remote_id = $id"), 'f', 'it stays as it was');
	my $deleted = $ids[$size eq 'small' ? 5 : 6];
	$shop->edit({ product => $deleted, delete => 1 });
	like(pull('full'), qr/complete|manual_review/, 'a whole reading with it');
	is(value("SELECT gone_evidence FROM sync.shopify_product WHERE remote_id = $deleted"), 'full_read', 'misses what is not there');
	is(value("SELECT gone_since IS NULL FROM sync.shopify_product WHERE remote_id = $id"), 't', 'but not the one that cannot be used');
}
# Corrected in the shop, they are read as ever.
$shop->edit(map { { product => $_, metafields => [ { namespace => 'custom', key => '', value => undef } ], set => { title => "Corrected $_" } } } @ids[2, 3]);
like(pull(), qr/complete|manual_review/, 'corrected in the shop');
is(value("SELECT count(*) FROM sync.product WHERE title LIKE 'Corrected %'"), 2, 'both are taken over');
$shop->blameless;
$node->stop;
done_testing();

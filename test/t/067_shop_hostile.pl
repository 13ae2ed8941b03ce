# A shop whose values the catalogue cannot take as they are: each goes to a person, and holds up no other.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use ProductSync::Cluster;
use ProductSync::Shopify;

my $node = ProductSync::Cluster->start_new('main');
my $shop = ProductSync::Shopify->start(products => 12, variants => 2, throttle => 'false');
$node->shopify($shop, overlap => '2 seconds', webhook_debounce => '0.1 seconds', max_change_share => 1);

sub value { return $node->value(@_) }
sub pull
{
	my ($mode) = @_;
	my $run = value("SELECT sync_run_shopify_down('" . ($mode // 'auto') . "')");
	my $state = eval { $node->wait_run($run, undef, 25) } // "$@";
	diag($node->story($run)) if $state !~ /complete|manual_review/;
	return $state;
}

is(pull('full'), 'complete', 'the first load');
my @p = map { $shop->product($_->{id}) } @{ $shop->products };
sub sku { my ($n) = @_; return $p[$n]{variants}[0]{sku} }

# Handles that change places.
$shop->edit({ product => $p[0]{id}, set => { handle => 'between' } });
$shop->edit({ product => $p[1]{id}, set => { handle => $p[0]{handle} } });
$shop->edit({ product => $p[0]{id}, set => { handle => $p[1]{handle} } }, { product => $p[2]{id}, set => { title => 'Other' } });
is(pull(), 'complete', 'handles that changed places');
is(value("SELECT string_agg(p.handle, ' ' ORDER BY l.remote_id) FROM sync.product p JOIN sync.product_listing l ON l.product_id = p.id WHERE l.remote_id IN ($p[0]{id}, $p[1]{id})"),
	"$p[1]{handle} $p[0]{handle}", 'are so here');
is(value("SELECT count(*) FROM sync.product WHERE title = 'Other'"), 1, 'and another change came through');

# A SKU that is another product's.
$shop->edit({ product => $p[3]{id}, add_variants => [ { sku => sku(4), price => '5.00', options => ['Zzz'] } ] }, { product => $p[5]{id}, set => { title => 'Other 5' } });
is(pull(), 'complete', 'a new variant with the SKU of another product');
is(value("SELECT count(*) FROM sync.product WHERE title = 'Other 5'"), 1, 'holds up nothing');
is(value("SELECT path || ' ' || rule FROM sync.conflicts WHERE state = 'open'"), 'variants[' . sku(4) . '] sku_taken', 'it is a person\'s business');

# A handle that the catalogue has given to a product of its own.
value("INSERT INTO sync.product (handle, title) VALUES ('our-own', 'Ours')");
$shop->edit({ product => $p[6]{id}, set => { handle => 'our-own' } }, { product => $p[7]{id}, set => { title => 'Other 7' } });
is(pull(), 'complete', 'a handle that another product has');
is(value("SELECT count(*) FROM sync.product WHERE title = 'Other 7'"), 1, 'holds up nothing');
is(value("SELECT path || ' ' || rule FROM sync.conflicts WHERE state = 'open' AND rule <> 'sku_taken'"), 'handle handle_taken', 'it is a person\'s business');
# The person takes the shop's: it waits as long as it cannot be, and is carried out then.
value("SELECT sync_resolve(id, 'shopify') FROM sync.conflict WHERE state = 'open' AND path = 'handle'");
is(pull(), 'complete', 'a choice that cannot be carried out yet');
is(value("SELECT state FROM sync.conflict WHERE rule = 'handle_taken'"), 'resolved', 'waits');
value("UPDATE sync.product SET handle = 'our-own-2' WHERE handle = 'our-own'");
is(pull(), 'complete', 'once the handle is free');
is(value("SELECT state || ' ' || (SELECT p.handle FROM sync.product p WHERE p.id = c.product_id) FROM sync.conflict c WHERE rule = 'handle_taken'"),
	'applied our-own', 'it is');

# A weight that no column takes, which the mirror does.
$shop->edit({ product => $p[8]{id}, variants => { sku(8) => { weight => { value => 99999999, unit => 'KILOGRAMS' } } } },
	{ product => $p[9]{id}, set => { title => 'Other 9' } });
is(pull(), 'complete', 'a weight that fits no column');
is(value("SELECT count(*) FROM sync.product WHERE title = 'Other 9'"), 1, 'holds up nothing');
is(value("SELECT rule FROM sync.conflict WHERE state = 'open' AND path LIKE '%.weight'"), 'value_unfit', 'it is a person\'s business');

# Texts of every kind; a price that nobody can mean is told with why.
$shop->edit({ product => $p[10]{id}, set => { handle => '', title => "Sch\x{f6}n \x{1F600} \x{5e9}\x{5dc}\x{5d5}\x{5dd}", descriptionHtml => '<p>' . ('x' x 60_000) . "&nbsp;\x{1F600}</p>" },
	variants => { sku(10) => { price => '0.00', barcode => '  ', sku => sku(10) . ' ' } } });
is(pull(), 'complete', 'emoji, right to left, long texts, a price of 0');
is(value("SELECT title FROM sync.product p JOIN sync.product_listing l ON l.product_id = p.id WHERE l.remote_id = $p[10]{id}"), "Sch\xc3\xb6n \xf0\x9f\x98\x80 \xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d", 'are here');
is(value("SELECT string_agg(path || ' ' || rule, ', ') FROM sync.conflict WHERE product_id = (SELECT product_id FROM sync.product_listing WHERE remote_id = $p[10]{id}) AND state = 'open'"),
	'variants[' . sku(10) . '].price zero_price', 'the price of 0 waits for a person');

# New in the shop with a SKU that is taken, edited again before anybody decides: one entry, of what is there now.
my $twin = $shop->edit({ add => { title => 'Twin', variants => [ { sku => sku(9), price => '1.00', barcode => '' } ] } });
is(pull(), 'manual_review', 'a product whose SKU is taken waits');
$shop->edit({ product => $twin->{id}, set => { title => 'Twin edited' } });
pull();
is(value("SELECT string_agg(title, ', ') FROM sync.staging WHERE state = 'open' AND sku = '" . sku(9) . "'"), 'Twin edited', 'once, as it is now');
$shop->edit({ product => $twin->{id}, delete => 1 });
pull('full');
is(value("SELECT count(*) FROM sync.staging WHERE state = 'open' AND kind = 'create'"), 0, 'and not at all when it is gone');
is(value("SELECT string_agg(message, '; ') FROM sync.notification WHERE message LIKE '%failed%'"), '', 'no run failed');

# Again: nothing changes.
my $versions = value('SELECT count(*) FROM sync.product_version');
pull('full');
is(value('SELECT count(*) FROM sync.product_version'), $versions, 'another full reading changes nothing');
$shop->blameless;
done_testing();

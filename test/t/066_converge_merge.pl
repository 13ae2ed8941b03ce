# The merge alone, on a mirror that the test writes itself: edits on both sides, seen late and in pieces, pushes whose answer is lost.  In the
# end both sides agree wherever nothing waits for a person, no edit by a person is lost, and merging again changes nothing.
#
# A random test: SYNC_SEED (default 1) says what happens, SYNC_ROUNDS (default 20) how much.
use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use ProductSync::Cluster;
use ProductSync::Converge;
use ProductSync::MemoryShop;
use ProductSync::Pusher;
use ProductSync::Session;
use ProductSync::World;

my $seed = $ENV{SYNC_SEED} // 1;
my $rounds = $ENV{SYNC_ROUNDS} // 20;
my $json = JSON::PP->new->canonical->allow_nonref->ascii;
my $began = time;

my $node = ProductSync::Cluster->start_new('main', preload => 0, conf => "fsync = off");
my $session = ProductSync::Session->new($node->connstr('postgres'));
my $ask = sub { return $session->ask($_[0]) };
ProductSync::Converge::watch($ask);
my $shop = ProductSync::MemoryShop->new;
my $location = 7;
my $world = ProductSync::World->new(seed => $seed, sql => $ask, shop => $shop, location => $location);
my $pusher = ProductSync::Pusher->new(sql => $ask, shop => $shop, world => $world);

$ask->(<<"END");
INSERT INTO sync.connection (name, kind, base_url, settings) VALUES ('shop', 'shopify', 'https://shop.test/', '{"max_change_share": 1, "webhook_debounce": "0"}'),
	('erp', 'xorosoft', 'https://erp.test/', '{}');
SET ROLE sync_worker;
INSERT INTO sync.run (kind, connection, state) VALUES ('shopify_down', 'shop', 'staging_creation');
INSERT INTO sync.run_phase (run_id, state, attempt) SELECT id, 'staging_creation', 1 FROM sync.run;
INSERT INTO sync.shopify_location (connection, remote_id, name, store) VALUES ('shop', $location, 'Main street', 'Main Warehouse');
RESET ROLE;
END

sub erp_counts
{
	my ($n) = @_;
	my @items = $world->erp_stock($n, map { sort keys %{ ProductSync::World::by_sku($shop->known($_))->{variants} } } $shop->remotes);
	return unless @items;
	my $text = $json->encode(\@items);
	$ask->(<<"END");
INSERT INTO sync.xorosoft_item (connection, item_number, item_key) SELECT DISTINCT 'erp', i ->> 'ItemNumber', sync.item_key(i ->> 'ItemNumber') FROM jsonb_array_elements(\$j\$$text\$j\$) i ON CONFLICT DO NOTHING;
INSERT INTO sync.xorosoft_stock AS s (connection, item_number, store, on_hand, allocated)
SELECT DISTINCT ON (1, 2) 'erp', i ->> 'ItemNumber', 'Main Warehouse', (i #>> '{Stores,0,OnHandQty}')::numeric, 2 FROM jsonb_array_elements(\$j\$$text\$j\$) WITH ORDINALITY AS e (i, no) ORDER BY 1, 2, no DESC
ON CONFLICT (connection, item_number, store) DO UPDATE SET on_hand = excluded.on_hand, seen_at = now();
END
}

sub merge
{
	my ($mode, $share) = @_;
	$ask->("SET ROLE sync_worker;" . $shop->pull($world, $mode, $share) . <<"END");
SELECT sync.shop_sent_due('shop');
SELECT sync.shop_merge_range(1, 'shop', 0, 1000000);
SELECT sync.shop_stock_merge(1, 'shop', NULL);
RESET ROLE;
END
}

# ---- what happens ------------------------------------------------------------------------------------------------------------------

$world->merchant_creates for 1 .. 40;
merge('full');
for my $round (1 .. $rounds)
{
	for my $act ($world->shuffle(qw(merchant hand merchant hand stock erp merge push)))
	{
		if ($act eq 'merchant') { $world->merchant_edits(10) }
		elsif ($act eq 'hand') { $world->hand_edits(10) }
		elsif ($act eq 'stock') { $world->merchant_stock(5) }
		elsif ($act eq 'erp') { erp_counts(6) }
		elsif ($act eq 'merge') { merge('delta', $world->pick(0.3, 0.7, 1)) }
		else { $pusher->push(share => 0.6, lose => 0.15) }
	}
	$world->resolve(0.3);
	$world->hand_locks if $world->chance(0.3);
	$world->merchant_creates if $world->chance(0.3);
	$world->merchant_deletes if $world->chance(0.05);
}

ProductSync::Converge->new(sql => $ask, shop => $shop, world => $world, pusher => $pusher, settle => sub { merge('full') })->check;
$session->finish;
done_testing();

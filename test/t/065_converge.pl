# Whatever happens in the shop, in the ERP, in the feed and by hand, and in whatever order it is seen: in the end both sides agree wherever
# nothing waits for a person, no edit by a person is lost, and running again changes nothing.
#
# A random test of everything together: merchants, people at the tables, a feed and an ERP change things; webhooks are lost, doubled and
# reordered, readings cut off, answers to pushes lost, conflicts decided at random.  SYNC_SEED (default 1) says what happens, SYNC_ROUNDS
# (default 16) how much; `make soak` runs it for longer, with many seeds.  Nothing waits: the queue is worked on by CALL sync_work() after each act.
use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use ProductSync::Cluster;
use ProductSync::Converge;
use ProductSync::Feed;
use ProductSync::Ftpd;
use ProductSync::Merchant;
use ProductSync::Proxy;
use ProductSync::Session;
use ProductSync::Shopify;
use ProductSync::UpPusher;
use ProductSync::World;
use ProductSync::Xorosoft;

my $seed = $ENV{SYNC_SEED} // 1;
my $rounds = $ENV{SYNC_ROUNDS} // 16;
my $feed_name = 'CowanOfficeSupplies.zip';
my $json = JSON::PP->new->canonical->allow_nonref->ascii;

my $node = ProductSync::Cluster->start_new('main', preload => 0, conf => "fsync = off");
my $shopify = ProductSync::Shopify->start(throttle => JSON::PP::false, locations => [ 'Main street', 'Pop-up' ]);
my $proxy = ProductSync::Proxy->start(target => $shopify);
my $xorosoft = ProductSync::Xorosoft->start(count => 0);
my $ftpd = ProductSync::Ftpd->start;
my %quick = (retry_wait => '0', run_attempts => 5, max_change_share => 1, mirror_shrink_limit => 1);
$node->shopify($shopify, via => $proxy, name => 'shop', shop_domain => 'test-shop.myshopify.com', webhook_debounce => '0', oscillation_window => '1 hour',
	push_after_changes => 'false', push_approve => '*', push_price_limit => 1, %quick);
$node->etilize($ftpd, settle => '0', %quick);
$node->xorosoft($xorosoft, requests_per_second => 1000, %quick);
$node->value("UPDATE sync.job_kind SET backoff_base = '1 millisecond', backoff_cap = '1 millisecond'");
my $session = ProductSync::Session->new($node->connstr('postgres'));
my $ask = sub { return $session->ask($_[0]) };
ProductSync::Converge::watch($ask);
my ($location) = map { $_->{id} } grep { $_->{name} eq 'Main street' } @{ $shopify->locations };
my $shop = ProductSync::Merchant->new(shop => $shopify);
my $world = ProductSync::World->new(seed => $seed, sql => $ask, shop => $shop, location => $location);
my $pusher = ProductSync::UpPusher->new(sql => $ask, shop => $shop, double => $shopify, world => $world, work => sub { work($_[0], 'push') });

# Works on the queue until nothing is left that is due within that time.
my %spent;

sub work
{
	my ($most, $what) = @_;
	my $start = time;
	$ask->("CALL sync_work('$most')");
	$spent{ $what // (caller(1))[3] } += time - $start;
}

# ---- what is seen --------------------------------------------------------------------------------------------------------------------

# Reads the shop; is what happens to the connection meanwhile.
sub pull
{
	my ($mode, $trouble) = @_;
	if ($trouble) { $proxy->control(scope => 'all', reset_after => 200 + $world->below(20000), times => 1 + $world->below(3)); $world->count('pulls cut') }
	$ask->("SELECT sync_run_shopify_down('$mode')");
	if ($trouble && $world->chance(0.3))
	{
		work('20 milliseconds');
		$ask->("SELECT sync_cancel(id) FROM sync.run WHERE kind = 'shopify_down' AND active");
		$world->count('pulls cancelled');
	}
	work('20 seconds');
	$proxy->heal if $trouble;
	$world->count("pulls $mode");
}

# Webhooks that wait at the shop: some are lost, some come twice, in any order; some wait on.
sub webhooks
{
	my @list = $shopify->webhooks(order => 'shuffle', seed => $world->below(1000000), lose => 0.2, double => 0.2, take => 5 + $world->below(40));
	my @statements;
	for my $hook (@list)
	{
		my $headers = $json->encode($hook->{headers});
		my $body = unpack 'H*', do { my $text = $hook->{body}; utf8::encode($text) if utf8::is_utf8($text); $text };
		push @statements, "SELECT set_config('request.headers', \$h\$$headers\$h\$, false); SELECT sync_webhook_shopify('\\x$body')";
	}
	$ask->(join ";\n", @statements) if @statements;
	$world->count('webhooks handed over', scalar @list);
	work('300 milliseconds');
}

sub erp
{
	my ($n) = @_;
	my @items = $world->erp_stock($n, map { sort keys %{ ProductSync::World::by_sku($shop->known($_))->{variants} } } $shop->remotes);
	$xorosoft->put(@items) if @items;
	$ask->('SELECT sync_run_xorosoft()');
	work('5 seconds');
}

my $feed_time = time;
sub feed
{
	$ftpd->put($feed_name, ProductSync::Feed::by_hand($world->feed_rows), $feed_time += 100);
	feed_again(sub { $world->hand_edits_staged($_[0]) });
}

# meanwhile: what happens between staging and approval, given the run.
sub feed_again
{
	my ($meanwhile) = @_;
	my $run = $ask->('SELECT sync_run_etilize()');
	work('10 seconds');
	$meanwhile->($run) if $meanwhile;
	# What the matcher took for another variant of a product, a person tells apart.
	$ask->("SELECT sync_reject(ARRAY(SELECT s.id FROM sync.staging s WHERE s.run_id = $run AND s.state = 'open'"
		. " AND EXISTS (SELECT FROM sync.staging_field f WHERE f.staging_id = s.id AND f.path ~ '^variants\\[[^]]*\\]\$')), 'another product')");
	$ask->("SELECT sync_approve_where('{\"run_id\": $run}', 'test', dry_run => false)");
	work('2 seconds');
}

# What the shop's changes left to people: archiving what is gone, variants, links.  A person who is asked whether two products are one knows
# them by their SKUs.
sub approve
{
	my ($share) = @_;
	my $entries = $ask->(<<'END');
SELECT concat_ws(' ', s.id, CASE WHEN s.flags @> '{link_uncertain}' THEN (
	EXISTS (SELECT FROM sync.shopify_product m CROSS JOIN LATERAL jsonb_each(m.document -> 'variants') e
			JOIN sync.variant v ON v.sku = e.value ->> 'sku' AND v.product_id = s.product_id
			WHERE m.connection = s.connection AND m.remote_id = (s.evidence ->> 'remote_id')::bigint))::integer END)
FROM sync.staging s WHERE s.state = 'open' AND s.decision = 'pending' AND s.connection = 'shop' ORDER BY s.id
END
	for my $entry (split /\n/, $entries)
	{
		my ($id, $same) = split / /, $entry;
		next unless $world->chance($share);
		$ask->($same // $world->chance(0.7) ? "SELECT sync_approve(ARRAY[$id])" : "SELECT sync_reject(ARRAY[$id], 'test')");
		$world->count('entries decided');
	}
	work('1 second');
}

# ---- what happens ------------------------------------------------------------------------------------------------------------------

# Some products are in the shop, some here, some in both, some in the feed.
for my $k (1 .. 45)
{
	my $document;
	if ($k <= 30) { $document = $world->merchant_creates }
	elsif ($k <= 40) { $document = $world->hand_creates }
	else { $document = $world->product }
	$world->feed_adds($json->decode($json->encode($document))) if $k % 3 == 0 || $k > 40;
}
pull('full');
$ask->("UPDATE sync.shopify_location SET store = 'Main Warehouse' WHERE remote_id = $location");
is($ask->("SELECT count(*) FROM sync.product_listing"), 30, 'the shop is read and linked') or diag $node->story($ask->('SELECT max(id) FROM sync.run'));
erp(40);
feed();
$shopify->webhooks;
$shop->ask('mutation($topic: WebhookSubscriptionTopic!, $hook: WebhookSubscriptionInput!) { webhookSubscriptionCreate(topic: $topic, webhookSubscription: $hook) { userErrors { message } } }',
	{ topic => $_, hook => { uri => 'https://hooks.test/shop' } }) for qw(PRODUCTS_CREATE PRODUCTS_UPDATE PRODUCTS_DELETE INVENTORY_LEVELS_UPDATE INVENTORY_ITEMS_UPDATE);

for my $round (1 .. $rounds)
{
	for my $act ($world->shuffle(qw(merchant hand merchant hand stock webhooks webhooks push), $world->pick(qw(pull pull erp feed)), $world->pick(qw(people push))))
	{
		if ($act eq 'merchant') { $world->merchant_edits(26) }
		elsif ($act eq 'hand') { $world->hand_edits(34) }
		elsif ($act eq 'stock') { $world->merchant_stock(8) }
		elsif ($act eq 'webhooks') { webhooks() }
		elsif ($act eq 'push') { $pusher->push(share => 0.6, lose => 0.15) }
		elsif ($act eq 'pull') { pull($world->pick(qw(delta delta delta full auto)), $world->chance(0.4)) }
		elsif ($act eq 'erp') { erp(10) }
		elsif ($act eq 'feed') { $world->feed_edits(10); feed() }
		else { $world->resolve(0.3); approve(0.5); $world->hand_locks if $world->chance(0.5) }
	}
	$world->merchant_creates if $world->chance(0.2);
	$world->feed_adds($world->product) if $world->chance(0.1);
	$world->merchant_variants if $world->chance(0.3);
	$world->merchant_deletes if $world->chance(0.05);
}

# ---- the end ------------------------------------------------------------------------------------------------------------------------

$world->count("webhooks $_", $shopify->effects->{webhooks}{$_} // 0) for qw(made debounced lost doubled);
ProductSync::Converge->new(sql => $ask, shop => $shop, world => $world, pusher => $pusher, settle => sub { erp(0); pull('full') },
	again => sub { pull('full'); feed_again(); erp(0); webhooks() })->check;
$shopify->blameless;
note 'seconds: ' . join ', ', map { sprintf '%s %.1f', s/main:://r, $spent{$_} } sort keys %spent;
$session->finish;
done_testing();

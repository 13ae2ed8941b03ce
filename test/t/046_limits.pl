# When a system fails, or somebody pauses it, nothing is hammered, lost or done twice: two workers stop together, one probe goes through, and
# all goes on by itself.  Another shop does not notice.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use ProductSync::Cluster;
use ProductSync::Proxy;
use ProductSync::Shopify;
use ProductSync::Xorosoft;

my $node = ProductSync::Cluster->start_new('main', conf => 'product_sync.max_workers = 2');
my $shop = ProductSync::Shopify->start(products => 300, variants => 1, scopes => [qw(read_products read_inventory read_locations)],
	denied => { 'QueryRoot.publications' => 'read_publications' }, restore_rate => 10000, bucket_size => 200000);
my $other = ProductSync::Shopify->start(products => 40, variants => 1);
my $proxy = ProductSync::Proxy->start(target => $shop);
my %fast = (overlap => '2 seconds', webhook_debounce => '0.1 seconds', shop_creates => 'skip', max_change_share => 1,
	breaker_wait => '1 second', breaker_wait_cap => '3 seconds');
$node->shopify($shop, via => $proxy, %fast);
$node->shopify($other, name => 'other', %fast);

sub value { return $node->value(@_) }
sub until_true
{
	my ($sql, $what, $seconds) = @_;
	for (my $end = time + ($seconds // 60); time < $end; sleep 0.05)
	{
		return pass($what) if value($sql) eq 't';
	}
	diag(value('SELECT string_agg(b::text, E\'\n\') FROM sync.breaker b'), "\n", value("SELECT string_agg(concat_ws(' ', kind, lease_owner, count, run_at), E'\\n') FROM (SELECT kind, lease_owner, count(*), min(run_at - clock_timestamp()) AS run_at FROM sync.job GROUP BY 1, 2) j"));
	return fail("$what: $sql");
}
sub pull
{
	my ($name, $mode) = @_;
	my $run = value("SELECT sync_run_shopify_down('" . ($mode // 'auto') . "', '$name')");
	my $state = $node->wait_run($run, undef, 120);
	diag($node->story($run)) if $state ne 'complete';
	return $state;
}
my @ids;
sub breaker { my ($what, $name) = @_; return value("SELECT $what FROM sync.breaker WHERE endpoint = '" . ($name // 'shopify') . "'") }

# Asks for each product once, by itself.
sub fetch_all
{
	value('TRUNCATE sync.job_history');
	$shop->reset;
	value("SELECT count(sync.shopify_product_fetch('shopify', remote_id, 3)) FROM sync.shopify_product WHERE connection = 'shopify'");
}

# All were read, each once, and what had to wait cost nothing.
sub all_read
{
	my ($what, $most) = @_;
	until_true("SELECT NOT EXISTS (SELECT FROM sync.job WHERE kind = 'shopify_product')", "$what: all is done");
	is(value("SELECT count(*) || ' ' || count(DISTINCT id) FROM sync.job_history WHERE kind = 'shopify_product' AND outcome = 'done'"), @ids . ' ' . @ids, "$what: no job was lost, none was done twice");
	is(value('SELECT count(*) FROM sync.dead_letter'), 0, "$what: none was given up");
	cmp_ok(value("SELECT sum(attempt - 1) FROM sync.job_history WHERE kind = 'shopify_product'"), '<=', $most, "$what: waiting cost no attempt, only what opened it, or ended with its worker");
}

# A scope that only the push needs stops nothing that is read.
is(pull('shopify'), 'complete', 'a shop is read without the scope for publications');
is(value("SELECT sync.paused('shopify') IS NULL"), 't', 'and is not paused');
is(value('SELECT count(*) FROM sync.shopify_publication'), 0, 'nothing is known of publications');
is(pull('other'), 'complete', 'another one with it');
is(value("SELECT string_agg(name, ', ' ORDER BY name) FROM sync.shopify_publication WHERE connection = 'other'"), 'Online Store, Point of Sale', 'and they are known');
@ids = map { $_->{id} } @{ $shop->products };
fetch_all();
all_read('a shop that is well', 0);
is($shop->effects->{queries}{product}, scalar @ids, 'each is asked for once');
cmp_ok(value("SELECT cost FROM sync.shopify_cost_seen WHERE connection = 'shopify' AND operation = 'product'"), '>', 0, 'what they cost is remembered');

# Status 502 for as long as it lasts.
$shop->control(status_next => [ (502) x 400 ]);
fetch_all();
until_true("SELECT state <> 'closed' FROM sync.breaker WHERE endpoint = 'shopify'", 'a shop that answers 502: its breaker opens');
until_true("SELECT NOT EXISTS (SELECT FROM sync.job WHERE lease_owner IS NOT NULL)", 'what was under way comes to its end');
my ($failed, $probes) = ($shop->effects->{failed}, breaker('openings'));
cmp_ok($failed, '<=', 64 + $probes, 'no more were sent than were under way');
is(value("SELECT string_agg(kind || ' ' || severity, ', ') FROM sync.notification WHERE kind LIKE 'breaker%'"), 'breaker_opened error', 'people are told once');
is(pull('other', 'delta'), 'complete', 'another shop goes on meanwhile');
until_true('SELECT openings >= ' . ($probes + 2) . " FROM sync.breaker WHERE endpoint = 'shopify'", 'it is tried again, and again');
my $now = value("SELECT openings || ' ' || (state = 'half_open')::integer FROM sync.breaker WHERE endpoint = 'shopify'");
my ($openings, $half_open) = split / /, $now;
my $sent = $shop->effects->{failed} - $failed;
cmp_ok(abs($sent - ($openings - $probes)), '<=', 1, "by one request each time: $sent in " . ($openings - $probes));
$shop->control(status_next => []);
until_true("SELECT state = 'closed' FROM sync.breaker WHERE endpoint = 'shopify'", 'once it answers, the breaker closes by itself');
all_read('after 502', 4);
is($shop->effects->{queries}{product}, scalar @ids, 'after 502: the shop was asked for each once');
is(value("SELECT string_agg(kind, ', ' ORDER BY id) FROM sync.notification WHERE kind LIKE 'breaker%'"), 'breaker_opened, breaker_closed', 'and people are told that it is over');
is(value("SELECT count(*) FROM sync.job WHERE payload ? 'held'"), 0, 'nothing is held any more');

# Connections that are reset; the worker that has the probe ends.
$proxy->control(reset_after => 0);
$proxy->cut;
fetch_all();
until_true("SELECT openings >= 2 FROM sync.breaker WHERE endpoint = 'shopify'", 'connections that are reset: open, and tried again');
$proxy->heal;
$shop->control(latency_ms => 30000);
until_true("SELECT state = 'half_open' AND EXISTS (SELECT FROM sync.job j WHERE j.id = probe_job AND lease_owner IS NOT NULL) FROM sync.breaker WHERE endpoint = 'shopify'", 'a probe is under way');
my $probe = breaker('probe_job');
sleep 0.5;
is(value('SELECT count(*) FROM sync.job WHERE lease_owner IS NOT NULL'), 1, 'one, of two workers');
value("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type LIKE 'product_sync worker%'");
$shop->control(latency_ms => 0);
until_true("SELECT state = 'closed' FROM sync.breaker WHERE endpoint = 'shopify'", 'its worker ended: another takes the probe over, long before its deadline', 30);
all_read('after resets', 5);

# Paused by a person, in the middle of it.
$shop->control(latency_ms => 200);
fetch_all();
until_true("SELECT EXISTS (SELECT FROM sync.job_history WHERE kind = 'shopify_product')", 'at work');
like(value("SELECT sync_pause('shopify', 'stocktaking')"), qr/^paused: stocktaking/, 'somebody pauses it');
until_true("SELECT NOT EXISTS (SELECT FROM sync.job WHERE lease_owner IS NOT NULL)", 'what is under way finishes');
$shop->control(latency_ms => 0);
my $requests = $shop->effects->{graphql};
my $waiting = value("SELECT count(*) FROM sync.job WHERE kind = 'shopify_product'");
cmp_ok($waiting, '>', 0, 'the rest waits');
sleep 1.5;
is($shop->effects->{graphql}, $requests, 'nothing is sent');
is(value("SELECT count(*) FROM sync.job WHERE kind = 'shopify_product'"), $waiting, 'nothing is lost');
is(value("SELECT bool_and(run_at > now() + interval '1 minute') FROM sync.job WHERE kind = 'shopify_product'"), 't', 'and nothing looks again and again');
my ($code, $out, $err) = $node->psql('postgres', "SELECT sync_run_shopify_down('delta', 'shopify')");
like($err, qr/connection "shopify" is paused: stocktaking/, 'a run of it is refused, with the reason');
like(value("SELECT sync_resume('shopify')"), qr/^resumed; it was stopped: stocktaking/, 'and lets it go on');
all_read('after a pause', 0);

# The ERP: a run that waits says why, and goes on; a wrong key is not tried by many.
my $erp = ProductSync::Xorosoft->start(count => 3000);
$node->xorosoft($erp, requests_per_second => 20, page_size => 50, breaker_wait => '1 second', breaker_wait_cap => '2 seconds');
my $run = $node->start_xorosoft;
until_true("SELECT EXISTS (SELECT FROM sync.xorosoft_item)", 'the ERP is being read');
value("SELECT sync_pause('xorosoft', 'month end')");
until_true("SELECT message = 'nothing is sent to \"xorosoft\": paused, month end' FROM sync.progress WHERE run_id = $run AND current", 'its run says why it waits');
until_true("SELECT NOT EXISTS (SELECT FROM sync.job WHERE lease_owner IS NOT NULL)", 'what is under way finishes');
$requests = $erp->effects->{requests};
sleep 1;
is($erp->effects->{requests}, $requests, 'nothing is sent');
$erp->control(fail_next => 60);
value("SELECT sync_resume('xorosoft')");
until_true("SELECT message LIKE 'nothing is sent to \"xorosoft\": it failed %' FROM sync.progress WHERE run_id = $run AND current", 'then it fails, and the run says so');
$erp->control(fail_next => 0);
is($node->wait_run($run, undef, 60), 'complete', 'it completes when the ERP answers again');
is(value('SELECT count(*) FROM sync.xorosoft_item WHERE gone_since IS NULL'), 3000, 'with all items');
$node->secret('xorosoft', 'wrong');
$erp->reset;
$run = $node->start_xorosoft;
is($node->wait_run($run, undef, 60), 'error', 'a wrong key fails the run');
is(breaker('state', 'xorosoft'), 'open', 'and opens the breaker at once');
cmp_ok($erp->effects->{unauthorized}, '<=', 16, 'it is not tried on and on');

$shop->blameless;
$other->blameless('nor does the other shop complain');
$node->stop;
done_testing();

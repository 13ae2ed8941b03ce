# While 200 slow requests are under way no transaction is open, so nothing in the cluster has to wait for the network: not VACUUM, not
# DROP DATABASE, not a reload.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use ProductSync::Cluster;
use ProductSync::Feed;
use ProductSync::Ftpd;
use ProductSync::Xorosoft;

my $node = ProductSync::Cluster->start_new('main', conf => "product_sync.max_workers = 1\nproduct_sync.max_transfers = 200");
my $ftpd = ProductSync::Ftpd->start;
my $xorosoft = ProductSync::Xorosoft->start(count => 100);
$node->etilize($ftpd, settle => '100 milliseconds');
$node->xorosoft($xorosoft, requests_per_second => 1000);
$node->safe_psql('postgres', 'CREATE DATABASE elsewhere');

# 260 products that the mirror does not know, so that each is looked up; the ERP takes its time.
$ftpd->put('CowanOfficeSupplies.zip', ProductSync::Feed::by_hand(
	map { { Title => "Binder $_", 'URL handle' => "binder-$_", Vendor => 'Acme', Type => 'Binders', SKU => "NEW-$_", Price => '9.95' } } 1 .. 260));
my $mirror = $node->start_xorosoft;
is($node->wait_run($mirror), 'complete', 'the mirror is filled') or diag $node->story($mirror);
$xorosoft->reset;
$xorosoft->control(latency_ms => 12000);
my $run = $node->start_etilize;

my $slow = 0;
for (my $end = time + 60; time < $end && $slow < 200; sleep 0.1)
{
	$slow = $xorosoft->effects->{max_concurrency};
}
is($slow, 200, '200 requests are under way') or diag $node->story($run);

my $open = $node->value(<<'END');
SELECT count(*) FROM pg_stat_activity
WHERE backend_type LIKE 'product_sync%' AND (xact_start IS NOT NULL OR backend_xmin IS NOT NULL OR backend_xid IS NOT NULL OR state LIKE 'idle in transaction%')
END
my $looks = 0;
for (1 .. 20)
{
	$looks += $node->value("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'product_sync worker' AND (xact_start IS NOT NULL OR backend_xmin IS NOT NULL)");
	sleep 0.05;
}
cmp_ok($open + $looks, '<=', 1, 'and no worker has a transaction or a snapshot open');
cmp_ok(scalar($node->workers), '>=', 1, 'though there is one');

my $start = time;
$node->safe_psql('postgres', 'DROP DATABASE elsewhere');
cmp_ok(time - $start, '<', 2, 'DROP DATABASE of another database is done at once');

$node->safe_psql('postgres', 'CREATE TABLE dead AS SELECT generate_series(1, 1000) AS n');
$node->safe_psql('postgres', 'DELETE FROM dead');
my ($code, $out, $err) = $node->psql('postgres', 'VACUUM (VERBOSE) dead');
like($err, qr/1000 removed|removed 1000|found 1000 removable|1000 dead item/, 'VACUUM removes what was deleted since');

is($xorosoft->effects->{max_concurrency}, 200, 'all this while they were under way');
$start = time;
$node->safe_psql('postgres', "ALTER SYSTEM SET product_sync.databases = ''");
$node->reload;
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type IN ('product_sync worker', 'product_sync coordinator')"),
	'a reload that takes the database off the list');
cmp_ok(time - $start, '<', 6, 'is obeyed in the middle of it');

$xorosoft->control(latency_ms => 0);
$node->safe_psql('postgres', 'ALTER SYSTEM RESET product_sync.databases');
$node->reload;
is($node->wait_run($run), 'manual_review', 'and put back on it, the run goes on to its end') or diag $node->story($run);
is($node->value("SELECT count(*) FROM sync.staging WHERE run_id = $run AND 'unknown_to_erp' = ANY (flags)"), 260, 'with every product, marked as unknown to the ERP');

done_testing();

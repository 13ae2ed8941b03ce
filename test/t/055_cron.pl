# The clock: real pg_cron jobs bring a feed from the FTP server to staged changes without anybody calling anything.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use ProductSync::Cluster;
use ProductSync::Feed;
use ProductSync::Ftpd;
use ProductSync::Xorosoft;

my $plain = ProductSync::Cluster->start_new('plain');
my ($code, $out, $err) = $plain->psql('postgres', 'SELECT sync_schedule()');
isnt($code, 0, 'without pg_cron there is no schedule');
like($err, qr/pg_cron/, 'and the error says so');
like($err, qr/HINT/, 'with a hint');
$plain->stop;

my $node = ProductSync::Cluster->start_new('main', cron => 1);
my $ftpd = ProductSync::Ftpd->start;
my $xorosoft = ProductSync::Xorosoft->start(count => 100);
$node->etilize($ftpd, settle => '100 milliseconds');
$node->xorosoft($xorosoft, requests_per_second => 200);
$ftpd->put('CowanOfficeSupplies.zip', \ProductSync::Feed::made_up(products => 50));

my @names = split /\n/, $node->value('SELECT sync_schedule()');
cmp_ok(scalar @names, '>=', 5, 'a job a phase');
is($node->value("SELECT count(*) FROM cron.job WHERE jobname LIKE 'product_sync%'"), scalar @names, 'which pg_cron has');
$node->value('SELECT sync_schedule()');
is($node->value("SELECT count(*) FROM cron.job WHERE jobname LIKE 'product_sync%'"), scalar @names, 'scheduling twice is scheduling once');

# Every minute, so that the test does not wait for a quarter of an hour.
$node->safe_psql('postgres', "UPDATE cron.job SET schedule = '* * * * *' WHERE jobname LIKE 'product_sync%'");
ok($node->poll_query_until('postgres', "SELECT count(*) >= 1 FROM sync.run WHERE kind = 'etilize' AND trigger = 'schedule' AND state = 'manual_review'"),
	'within some minutes the feed is staged');
is($node->value("SELECT count(*) FROM cron.job_run_details d JOIN cron.job j USING (jobid) WHERE j.jobname LIKE 'product_sync%' AND d.status = 'failed'"), 0,
	'no job failed') or diag $node->value("SELECT string_agg(command || ': ' || return_message, E'\\n') FROM cron.job_run_details WHERE status = 'failed'");
is($node->value("SELECT count(*) FROM sync.staging"), 50, 'each product once');

# What people approve is applied, and the rest of the clock keeps quiet.
$node->value(q(SELECT sync_approve_where('{"kind": "create"}', 'all', dry_run => false)));
ok($node->poll_query_until('postgres', 'SELECT count(*) = 50 FROM sync.product'), 'what is approved is applied');
$node->value('SELECT sync_unschedule()');
is($node->value("SELECT count(*) FROM cron.job WHERE jobname LIKE 'product_sync%'"), 0, 'unscheduled, no job is left');

done_testing();

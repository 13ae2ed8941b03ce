# What runs by the clock, with the real pg_cron: each phase has one job that succeeds within its minute; calling sync_schedule() twice
# makes nothing twice; where pg_cron cannot be used the error says what to do; without the library preloaded a job works on the queue.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use ProductSync::Cluster;
use ProductSync::Xorosoft;

my $x = ProductSync::Xorosoft->start(count => 250);
my $node = ProductSync::Cluster->start_new('main', cron => 1);
my $unloaded = ProductSync::Cluster->start_new('unloaded', cron => 1, preload => 0);
my @phases = map { "product_sync_$_" } qw(apply housekeep mirror poll push shop shop_full stage webhooks);

# SQLSTATE and text of the error that a statement ends in.
sub failure
{
	my ($in, $database, $sql) = @_;
	my ($out, $err) = ('', '');
	$in->psql($database, "\\set VERBOSITY verbose\n$sql", stdout => \$out, stderr => \$err);
	return $err;
}

sub jobs { return join ' ', split /\n/, $_[0]->value('SELECT jobname FROM cron.job ORDER BY jobname COLLATE "C"') }

my @said = split /\n/, $node->value('SELECT sync_schedule()');
is(scalar @said, 9, 'one job a phase');
is($said[0], 'product_sync_poll: * * * * *', 'and its schedule is said');
is(jobs($node), "@phases", 'pg_cron has them');
$node->value("SELECT sync_schedule('frequent')");
is(jobs($node), "@phases", 'scheduling again makes nothing twice');
is($node->value("SELECT schedule FROM cron.job WHERE jobname = 'product_sync_mirror'"), '*/30 * * * *', 'but takes the new preset');
is($node->value("SELECT string_agg(j, ' ') FROM sync_unschedule() j"), join(' ', map { "product_sync_$_" } qw(poll mirror shop shop_full push stage apply webhooks housekeep)), 'unscheduled by name');
is(jobs($node), '', 'and gone');

$node->safe_psql('postgres', "CREATE ROLE clerk LOGIN IN ROLE sync_admin; SELECT cron.schedule('other', '0 0 * * *', 'SELECT 1')");
like(failure($node, 'postgres', 'SET ROLE clerk; SELECT sync_schedule()'), qr/42501.*permission denied for schema cron.*HINT:.*GRANT USAGE ON SCHEMA cron TO clerk/s,
	'a user who may not use pg_cron is told what is missing');
$node->safe_psql('postgres', 'GRANT USAGE ON SCHEMA cron TO clerk');
is($node->safe_psql('postgres', 'SET ROLE clerk; SELECT count(*) FROM sync_schedule()'), 9, 'an admin may schedule');
is($node->safe_psql('postgres', 'SET ROLE clerk; SELECT count(*) FROM sync_unschedule()'), 9, 'and unschedule');
is(jobs($node), 'other', 'a job of somebody else is left alone');

$node->safe_psql('postgres', 'CREATE DATABASE branch');
$node->safe_psql('branch', 'CREATE EXTENSION product_sync; SELECT sync_install()');
my $elsewhere = failure($node, 'branch', 'SELECT sync_schedule()');
like($elsewhere, qr/0A000: *pg_cron works in database "postgres", not here/, 'in another database the error names the right one');
my @statements = $elsewhere =~ /^(?:HINT:.*\n)?(SELECT cron\.schedule_in_database\(.*\);)$/mg;
is(scalar @statements, 9, 'and gives the calls to make there');
$node->safe_psql('postgres', join "\n", @statements);

my $bare = ProductSync::Cluster->start_new('bare');
like(failure($bare, 'postgres', 'SELECT sync_schedule()'), qr/58P01: *pg_cron is not there.*HINT:.*shared_preload_libraries/s, 'without pg_cron the error says how to get it');
$bare->stop;

# Now by the clock.  Both clusters keep the mirror of the same ERP.
$_->xorosoft($x, requests_per_second => 100) for $node, $unloaded;
$node->value('SELECT sync_schedule()');
$unloaded->value('SELECT sync_schedule()');
is(jobs($unloaded), join(' ', @phases, 'product_sync_work'), 'without the library preloaded one more job works on the queue');
for my $in ($node, $unloaded)
{
	$in->safe_psql('postgres', "UPDATE cron.job SET schedule = '* * * * *' WHERE jobname LIKE 'product_sync%'");
}
my $end = time + 200;
my %seen;
for my $in ($node, $unloaded)
{
	my $all = $in->value("SELECT count(*) FROM cron.job WHERE jobname LIKE 'product_sync%'");
	my $done = 0;
	while (time < $end)
	{
		$done = $in->value("SELECT count(DISTINCT jobid) FROM cron.job_run_details d JOIN cron.job j USING (jobid) WHERE j.jobname LIKE 'product_sync%' AND d.status = 'succeeded'");
		last if $done == $all && $in->value("SELECT count(*) FROM sync.run WHERE trigger = 'schedule' AND state = 'complete'") > 0;
		sleep 0.5;
	}
	is($done, $all, 'every job has run and succeeded: ' . $in->name);
	is($in->value("SELECT coalesce(string_agg(command || ': ' || status || ' ' || return_message, '; '), '') FROM cron.job_run_details WHERE status = 'failed'"), '', 'and none failed');
	is($in->value("SELECT count(*) FROM cron.job_run_details WHERE start_time - date_trunc('minute', start_time) > interval '40 seconds'"), 0, 'each within its minute');
	is($in->value("SELECT count(*) > 0 FROM sync.run WHERE kind = 'xorosoft' AND trigger = 'schedule' AND state = 'complete'"), 't', 'a run that the clock started is complete');
	is($in->value('SELECT count(*) FROM sync.xorosoft_item'), 250, 'and the mirror is there');
}
is($node->value("SELECT count(DISTINCT j.jobid) FROM cron.job_run_details d JOIN cron.job j USING (jobid) WHERE d.database = 'branch' AND d.status = 'succeeded'"), 9,
	'the jobs of the other database ran there');
is($node->value("SELECT count(*) FROM sync.job_history WHERE kind = 'housekeep' AND outcome = 'done'") > 0 ? 1 : 0, 1, 'housekeeping was done');
is($node->value('SELECT count(*) FROM sync.dead_letter'), 0, 'nothing failed');
$node->stop;
$unloaded->stop;
done_testing();

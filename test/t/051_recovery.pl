# A worker that is killed in any phase, a server that is restarted or crashes, and a connection that is lost: the run ends by itself,
# with the catalogue of an undisturbed run, no row lost and none twice.
use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use ProductSync::Cluster;
use ProductSync::Feed;
use ProductSync::Ftpd;
use ProductSync::Proxy;
use ProductSync::Xorosoft;

my $name = 'CowanOfficeSupplies.zip';
my $node = ProductSync::Cluster->start_new('main', databases => '', extension => 0, conf => "max_worker_processes = 16");
my $ftpd = ProductSync::Ftpd->start;
my $proxy = ProductSync::Proxy->start(target => $ftpd, ftp => 1);
my $xorosoft = ProductSync::Xorosoft->start(count => 300, known => 0.8);

# The state before the run, from which every scenario starts.
my $sql = "$ENV{TESTDATADIR}/shop.sql";
my $feed = ProductSync::Feed::made_up(products => 300, catalogue => $sql, existing => 150, broken => 5);
$ftpd->put($name, \$feed);
$node->safe_psql('postgres', 'CREATE DATABASE base');
$node->database('base');
$node->safe_psql('base', 'CREATE EXTENSION product_sync');
$node->safe_psql('base', 'SELECT sync_install()');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', 'base', '-f', $sql ], 'the shop is loaded');
$node->etilize($ftpd, via => $proxy, settle => '100 milliseconds', ftp_stall_timeout => '2 seconds', ftp_connect_timeout => '3 seconds',
	stage_batch_products => 40, retry_wait => '1 second', run_attempts => 5, max_change_share => 1);
$node->xorosoft($xorosoft, requests_per_second => 500, retry_wait => '1 second', run_attempts => 5);
$node->value("UPDATE sync.job_kind SET backoff_base = '100 milliseconds', backoff_cap = '1 second'");

# A database of its own for a scenario, in which the workers work.
sub scenario
{
	my ($database) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $database TEMPLATE base");
	$node->database($database);
	$node->safe_psql('postgres', "ALTER SYSTEM SET product_sync.databases = '$database'");
	$node->reload;
}

# Waits for the server after a crash.
sub up
{
	for (1 .. 600)
	{
		return if $node->psql('postgres', 'SELECT 1', timeout => 5) == 0;
		sleep 0.1;
	}
	die 'the server did not come back';
}

# Lets the run end, approves what waits, and says what came out.
sub outcome
{
	my ($run) = @_;
	my $state = $node->wait_run($run);
	if ($state eq 'manual_review')
	{
		$node->value(qq(SELECT sync_approve_where('{"run_id": $run}', 'all', dry_run => false)));
		$state = $node->wait_run($run);
	}
	return "$state\n" . $node->catalogue
		. "\nrejects " . $node->value('SELECT count(*) FROM sync.feed_reject')
		. "\nentries " . $node->value("SELECT count(*) || ' ' || count(*) FILTER (WHERE state = 'applied') FROM sync.staging")
		. "\nversions of an entry " . $node->value('SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM sync.product_version v JOIN sync.staging s ON s.product_id = v.product_id AND s.applied_version = v.version GROUP BY s.id) v')
		. "\nrows of the feed " . $node->value('SELECT count(*) || \' \' || count(DISTINCT line) FROM sync.feed_item')
		. "\nopen jobs " . $node->value("SELECT count(*) FROM sync.job WHERE run_id = $run");
}

# A session that holds a table so that whoever needs it waits; ends with the server, or when told.
sub hold
{
	my ($table) = @_;
	my ($in, $out) = ("BEGIN; LOCK TABLE $table IN ACCESS EXCLUSIVE MODE; SELECT 'held';\n", '');
	my $session = IPC::Run::start([ 'psql', '-X', '-q', '-A', '-t', '-d', $node->connstr($node->database) ], '<', \$in, '>', \$out, '2>', \my $error,
		IPC::Run::timeout(180));
	$session->pump until $out =~ /held/;
	return $session;
}

# The process id of a worker of ours that fits a condition on pg_stat_activity, as soon as there is one.
sub worker_that
{
	my ($condition) = @_;
	for (my $end = time + 60; time < $end; sleep 0.01)
	{
		my $pid = $node->value("SELECT pid FROM pg_stat_activity a WHERE backend_type = 'product_sync worker' AND datname = current_database() AND $condition LIMIT 1");
		return $pid if $pid ne '';
	}
	die "no worker was ever such: $condition\n" . $node->story($node->value('SELECT max(id) FROM sync.run'));
}

my $state_is = sub { return "EXISTS (SELECT FROM sync.run WHERE state = '$_[0]')" };

scenario('undisturbed');
my $wanted = outcome($node->start_etilize);
like($wanted, qr/^complete\n/, 'the undisturbed run is complete');
unlike($wanted, qr/products 150 /, 'and has added products');
note $wanted;

# ---- kill -9 -----------------------------------------------------------------------------------------------------------------

# In the phases that work on tables, the worker is stopped in the middle of its statement by a table that it needs.
my %table = (
	processing => 'sync.feed_profile_column', matching => 'sync.match_result', staging_creation => 'sync.staging_field',
	syncing => 'sync.product_version');
for my $phase (qw(processing matching staging_creation syncing))
{
	scenario("killed_$phase");
	my $holder = hold($table{$phase});
	my $run = $node->start_etilize;
	my $pid = worker_that($state_is->($phase) . " AND wait_event_type = 'Lock'");
	kill 'KILL', $pid;
	$holder->kill_kill;
	sleep 0.2;
	up();
	is(outcome($run), $wanted, "kill -9 of a worker in $phase") or diag $node->story($run);
}

# In the phases that wait for the network, it is slow.
scenario('killed_downloading');
$proxy->control(scope => 'data', bytes_per_second => 20000);
my $run = $node->start_etilize;
my $pid = worker_that($state_is->('downloading'));
sleep 0.5;
kill 'KILL', $pid;
sleep 0.2;
up();
$proxy->heal;
is(outcome($run), $wanted, 'kill -9 of a worker in downloading') or diag $node->story($run);

scenario('killed_monitoring');
$proxy->control(scope => 'control', latency_ms => 400);
$run = $node->start_etilize;
$pid = worker_that($state_is->('ftp_monitoring'));
kill 'KILL', $pid;
sleep 0.2;
up();
$proxy->heal;
is(outcome($run), $wanted, 'kill -9 of a worker in ftp_monitoring') or diag $node->story($run);

scenario('killed_validation');
$xorosoft->control(latency_ms => 500);
$run = $node->start_etilize;
$pid = worker_that($state_is->('xorosoft_validation'));
sleep 0.7;
kill 'KILL', $pid;
sleep 0.2;
up();
$xorosoft->control(latency_ms => 0);
is(outcome($run), $wanted, 'kill -9 of a worker in xorosoft_validation') or diag $node->story($run);

# ---- restarts ------------------------------------------------------------------------------------------------------------------

scenario('restarted');
my $holder = hold('sync.match_result');
$run = $node->start_etilize;
worker_that($state_is->('matching') . " AND wait_event_type = 'Lock'");
$node->restart;
eval { $holder->kill_kill };
is(outcome($run), $wanted, 'a restart of PostgreSQL in mid-run') or diag $node->story($run);

scenario('crashed');
$holder = hold('sync.staging_field');
$run = $node->start_etilize;
worker_that($state_is->('staging_creation') . " AND wait_event_type = 'Lock'");
$node->stop('immediate');
eval { $holder->kill_kill };
$node->start;
is(outcome($run), $wanted, 'a crash of PostgreSQL in mid-run') or diag $node->story($run);

# ---- the network -----------------------------------------------------------------------------------------------------------------

scenario('lost_ftp');
$proxy->reset;
$proxy->control(scope => 'data', reset_after => 8000, times => 2);
is(outcome($node->start_etilize), $wanted, 'the FTP connection is reset in mid-download, twice');
is($proxy->effects->{broken}, 2, 'which it was');
$proxy->heal;

scenario('stalled_ftp');
$proxy->reset;
$proxy->control(scope => 'data', stall_after => 8000, times => 1);
is(outcome($node->start_etilize), $wanted, 'the FTP server says nothing more in mid-download');
is($proxy->effects->{broken}, 1, 'which it did');
$proxy->heal;

scenario('flaky_erp');
$xorosoft->control(fail_every => 5, empty_pages => [2], invalid_json_next => 1, truncate_next => 1, drop_next => 1);
is(outcome($node->start_etilize), $wanted, 'the ERP fails every fifth request, gives an empty page, a page of HTML, half an answer and none');
$xorosoft->control(fail_every => 0, empty_pages => []);

done_testing();

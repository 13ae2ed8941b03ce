# The processes: what other networked extensions fell into, each as a test.  The kinds of job here are the test's own, so that nothing
# but the engine is at work.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use ProductSync::Cluster;

my $node = ProductSync::Cluster->start_new('main', databases => 'postgres, other, late', init => { allows_streaming => 1 },
	conf => "product_sync.max_workers = 2\nproduct_sync.worker_idle_timeout = 2");

my $kinds = <<'END';
CREATE TABLE done (id bigint, note text, pid int DEFAULT pg_backend_pid());
GRANT ALL ON done TO sync_worker;
CREATE FUNCTION sync.work_note(ids bigint[]) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.done SELECT id, payload ->> 'note' FROM sync.job WHERE id = ANY (ids);
	PERFORM pg_sleep((SELECT max((payload ->> 'sleep')::float) FROM sync.job WHERE id = ANY (ids)));
	RETURN '{}';
END $$;
CREATE FUNCTION sync.work_segfault(ids bigint[]) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_terminate_backend(pg_backend_pid());
	PERFORM pg_sleep(10);
	RETURN '{}';
END $$;
GRANT EXECUTE ON FUNCTION sync.work_note, sync.work_segfault TO sync_worker;
INSERT INTO sync.job_kind (kind, network, class, batch, max_attempts, backoff_base, description)
VALUES ('note', false, 2, 1, 5, '10 ms', 'test'), ('segfault', false, 3, 1, 2, '10 ms', 'test');
END

sub until_true
{
	my ($sql, $what, $database) = @_;
	ok($node->poll_query_until($database // 'postgres', $sql), $what);
}

sub enqueue
{
	my ($note, $sleep, $database) = @_;
	return $node->safe_psql($database // 'postgres', sprintf(q{SELECT sync.job_enqueue('note', NULL, '{"note": "%s", "sleep": %s}')}, $note, $sleep // 0));
}

$node->safe_psql('postgres', $kinds);

# Waking
my $start = time;
enqueue('first');
until_true("SELECT count(*) = 1 FROM done WHERE note = 'first'", 'a commit wakes the coordinator, which starts a worker');
cmp_ok(time - $start, '<', 5, 'at once, not at the next poll');
is($node->value("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'product_sync worker' AND usename <> current_user"), 0, 'workers log in as no role of their own');
until_true("SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'product_sync worker'", 'a worker without work leaves');

# Idle
my @pids = split /\n/, $node->value("SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'product_sync%' AND (datname = 'postgres' OR datname IS NULL)");
is(scalar @pids, 2, 'idle: the launcher, and one process for the database');
sub switches { my $n = 0; for my $pid (@pids) { open my $in, '<', "/proc/$pid/status" or return 0; /^voluntary_ctxt_switches:\s+(\d+)/ and $n += $1 while <$in>; } return $n }
my $before = switches();
sleep 11;
cmp_ok(switches() - $before, '<=', 4, 'idle processes sleep: no more than one wake-up in 5 s each');

# Deaths
enqueue('long', 30);
until_true("SELECT count(*) = 1 FROM sync.worker_activity() WHERE kind = 'note'", 'a worker is at work');
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM sync.worker_activity()");
until_true("SELECT count(*) = 1 FROM sync.job WHERE attempt = 2 AND lease_owner IS NOT NULL", 'a terminated worker\'s job is taken by another at once');
is($node->value("SELECT count(*) FROM done WHERE note = 'long'"), 0, 'and the first attempt left nothing behind');

my ($worker) = $node->workers;
enqueue('survivor');
kill 9, $worker;
until_true("SELECT count(*) >= 1 FROM done WHERE note = 'survivor'", 'after kill -9 of a worker the server recovers and work goes on');
is($node->value("SELECT count(*) FROM done WHERE note = 'survivor'"), 1, 'with one effect');
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM sync.worker_activity()");
$node->safe_psql('postgres', 'DELETE FROM sync.job');

$node->safe_psql('postgres', "SELECT sync.job_enqueue('segfault')");
until_true("SELECT count(*) = 1 FROM sync.dead_letter WHERE kind = 'segfault'", 'a job that kills its worker twice is a dead letter, not an endless loop');
enqueue('after poison');
until_true("SELECT count(*) = 1 FROM done WHERE note = 'after poison'", 'and work goes on');

$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type LIKE 'product_sync%'");
enqueue('after termination');
until_true("SELECT count(*) = 1 FROM done WHERE note = 'after termination'", 'terminated launcher and coordinators come back');

# Databases
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('postgres', 'CREATE DATABASE elsewhere');
$node->append_conf('postgresql.conf', "product_sync.databases = 'other, postgres'");
$node->reload;
until_true("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'product_sync coordinator' AND datname = 'other'", 'a reload brings a coordinator to a new database');
$node->safe_psql('other', 'CREATE EXTENSION product_sync');
$node->safe_psql('other', 'SELECT sync_install()');
$node->safe_psql('other', $kinds);
enqueue('in other', 20, 'other');
until_true("SELECT count(*) = 1 FROM sync.worker_activity()", 'which works there', 'other');
enqueue('busy', 20);
until_true("SELECT count(*) = 1 FROM sync.worker_activity()", 'while others work elsewhere');
$start = time;
$node->safe_psql('postgres', 'DROP DATABASE elsewhere');
cmp_ok(time - $start, '<', 5, 'DROP DATABASE of another database does not wait for workers');
$start = time;
$node->safe_psql('postgres', 'DROP DATABASE other');
cmp_ok(time - $start, '<', 6, 'nor does that of a database in which they work');
unlike(slurp_file($node->logfile), qr/PANIC|was terminated by signal 11/, 'and nothing crashed');

# The extension comes and goes
$start = time;
$node->safe_psql('postgres', 'SELECT pg_terminate_backend(pid) FROM sync.worker_activity()');
$node->safe_psql('postgres', 'DROP EXTENSION product_sync');
cmp_ok(time - $start, '<', 10, 'DROP EXTENSION does not hang');
until_true("SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'product_sync worker'", 'workers end when the extension is gone');
is($node->value('SELECT count(*) > 0 FROM sync.job_history'), 't', 'and every row is still there');
$node->safe_psql('postgres', 'CREATE EXTENSION product_sync');
like($node->value('SELECT sync_install()'), qr/^already/, 'created again, it finds its tables');
enqueue('second life');
until_true("SELECT count(*) = 1 FROM done WHERE note = 'second life'", 'and works on');

# A reload is obeyed while a worker is busy, and a run of nothing but waiting can be cancelled
$node->append_conf('postgresql.conf', "product_sync.max_workers = 0");
$node->reload;
sleep 1;
enqueue('held back');
sleep 3;
is($node->value("SELECT count(*) FROM done WHERE note = 'held back'"), 0, 'max_workers = 0 pauses');
$node->append_conf('postgresql.conf', "product_sync.max_workers = 1");
$node->reload;
until_true("SELECT count(*) = 1 FROM done WHERE note = 'held back'", 'and a reload resumes');

# What sync_worker owns never acts as the superuser that the processes log in as
$node->safe_psql('postgres', <<'END');
CREATE TABLE identity (what text, who text DEFAULT current_user);
GRANT ALL ON identity TO sync_worker;
SET ROLE sync_worker;
CREATE FUNCTION sync.tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.identity VALUES ('trigger'); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER tell AFTER UPDATE ON sync.job DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sync.tell();
CREATE FUNCTION sync.tell_at_commit() RETURNS integer LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.identity VALUES ('cursor'); RETURN 1; END $$;
CREATE FUNCTION sync.work_hold(ids bigint[]) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE 'DECLARE held CURSOR WITH HOLD FOR SELECT sync.tell_at_commit()';
	RETURN '{}';
END $$;
CREATE FUNCTION sync.tell_step() RETURNS integer LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.identity VALUES ('view'); RETURN 1; END $$;
INSERT INTO sync.job_kind (kind, network, class, batch, description) VALUES ('hold', false, 2, 1, 'test');
ALTER TABLE sync.installed_step RENAME TO step_behind;
CREATE VIEW sync.installed_step AS SELECT s.* FROM sync.step_behind s WHERE sync.tell_step() = 1;
END
$node->safe_psql('postgres', "SELECT sync.job_enqueue('hold')");
until_true("SELECT count(DISTINCT what) = 3 FROM identity", 'a deferred trigger, a held cursor and a view of sync_worker are run');
is($node->value("SELECT string_agg(DISTINCT who, ', ') FROM identity"), 'sync_worker', 'as sync_worker, not as a superuser');
$node->safe_psql('postgres', 'DROP VIEW sync.installed_step; ALTER TABLE sync.step_behind RENAME TO installed_step; DROP TRIGGER tell ON sync.job');

# A standby
$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
enqueue('replicated');
until_true("SELECT count(*) = 1 FROM done WHERE note = 'replicated'", 'the primary works');
is($standby->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'product_sync%'"), 0, 'a standby starts nothing');
$node->stop;
$standby->promote;
$standby->safe_psql('postgres', q{SELECT sync.job_enqueue('note', NULL, '{"note": "promoted", "sleep": 0}')});
ok($standby->poll_query_until('postgres', "SELECT count(*) = 1 FROM done WHERE note = 'promoted'"), 'and works once promoted');
$standby->stop;
done_testing();

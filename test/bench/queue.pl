#!/usr/bin/perl
# How many jobs a second the workers claim and complete, and that it stays so: over a million finished jobs, and with an old snapshot held
# open, under which nothing dead can be removed.
#   queue.pl FOLDER     PGHOST, PGPORT, PGUSER and PATH say which server, which must preload the library for database bench
# JOBS (default 1000000) go through in ten parts, BATCH (default 1000) are claimed at once.  They do nothing, so what is measured is the
# queue.  Those of the ten parts belong to a run, whose phase stays open for a job that is not due.  PARTS picks some of: rate single
# finished snapshot network.
# The yardstick is a plain table, claimed and deleted by FOR UPDATE SKIP LOCKED in one statement: no lease, no history, no retry, no run.
use strict;
use warnings;
use IPC::Open2;
use List::Util qw(max min sum);
use Time::HiRes qw(sleep time);

my $work = shift @ARGV or die "usage: queue.pl FOLDER\n";
my $jobs = $ENV{JOBS} || 1000000;
my $batch = $ENV{BATCH} || 1000;
my $part = $jobs / 10;
my %parts = map { $_ => 1 } split ' ', $ENV{PARTS} || 'rate single finished snapshot network';
my $missed = 0;
$| = 1;

# A session of its own: session()->('SQL') gives what comes back.
sub session
{
	my $pid = open2(my $out, my $in, 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', 'bench');
	return sub {
		my ($sql) = @_;
		print $in "$sql;\n\\echo the end\n";
		my @rows;
		while (my $line = <$out>)
		{
			chomp $line;
			return join "\n", @rows if $line eq 'the end';
			push @rows, $line;
		}
		die "failed: $sql\n";
	};
}

# A figure beside its bar.
sub figure
{
	my ($good, $text) = @_;
	$missed++ unless $good;
	printf "queue: %-6s %s\n", $good ? 'ok' : 'MISSED', $text;
}

# Seconds of CPU that the workers have used.
my %cpu;
sub cpu
{
	for my $pid (split /\n/, main::ask("SELECT pid FROM pg_stat_activity WHERE backend_type = 'product_sync worker'"))
	{
		open my $in, '<', "/proc/$pid/stat" or next;
		my @field = split ' ', (<$in> =~ s/.*\) //r);
		$cpu{$pid} = ($field[11] + $field[12]) / 100;
	}
	return sum(0, values %cpu);
}

system('createdb', '-E', 'UTF8', '-T', 'template0', 'bench') == 0 or die "createdb failed\n";
my $main = session();
sub ask { return $main->(@_) }
ask('CREATE EXTENSION product_sync; SELECT sync_install()');
ask(<<"END");
INSERT INTO sync.job_kind (kind, network, class, batch, description) VALUES
	('bench', false, 2, $batch, 'of the benchmark: does nothing'), ('bench_request', true, 2, 200, 'of the benchmark: requests nothing');
CREATE TABLE done (n integer);
GRANT INSERT ON done TO sync_worker;
CREATE FUNCTION sync.work_bench(job_ids bigint[]) RETURNS jsonb LANGUAGE plpgsql SET search_path = '' AS \$\$
BEGIN
	INSERT INTO public.done VALUES (cardinality(job_ids));
	RETURN jsonb_build_object('done', cardinality(job_ids));
END \$\$;
CREATE FUNCTION sync.request_bench_request(job_ids bigint[]) RETURNS TABLE (job_id bigint, request jsonb) LANGUAGE sql SET search_path = '' AS \$\$
	SELECT j.id, '{"op": "http", "method": "GET", "url": "http://localhost/"}'::jsonb FROM sync.job j WHERE j.id = ANY (job_ids) \$\$;
CREATE FUNCTION sync.response_bench_request(job_ids bigint[], results jsonb[], bodies bytea[])
RETURNS TABLE (job_id bigint, outcome text, retry_in interval, error jsonb, counts jsonb) LANGUAGE sql SET search_path = '' AS \$\$
	SELECT i, 'done', NULL::interval, NULL::jsonb, '{"done": 1}'::jsonb FROM unnest(job_ids) i \$\$;
CREATE TABLE plain (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, run_at timestamptz NOT NULL DEFAULT now(), payload jsonb NOT NULL);
CREATE INDEX ON plain (run_at, id);
ALTER SYSTEM SET product_sync.worker_idle_timeout = '60s';
SELECT pg_reload_conf()
END

# Lets so many workers work.
sub workers
{
	my ($n) = @_;
	ask("ALTER SYSTEM SET product_sync.max_workers = $n; SELECT pg_reload_conf()");
	for (1 .. 200)
	{
		last if ask("SELECT count(*) <= $n FROM pg_stat_activity WHERE backend_type = 'product_sync worker'") eq 't';
		ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'product_sync worker' ORDER BY backend_start DESC LIMIT 1");
		sleep 0.1;
	}
}

# Waits until as many jobs are done.
sub wait_done
{
	my ($n) = @_;
	my $end = time + 600;
	while (ask('SELECT coalesce(sum(n), 0) FROM done') < $n)
	{
		die 'only ' . ask('SELECT sum(n) FROM done') . " of $n jobs are done\n" if time > $end;
		sleep 0.2;
	}
	for (1 .. 100)
	{
		return if ask("SELECT count(*) FROM sync.job WHERE kind = 'bench' AND run_at < 'infinity'") == 0;
		sleep 0.05;
	}
	die "jobs were left\n";
}

# Enqueues jobs in one transaction and waits until they are done.  Returns the seconds from there on, and those of CPU.
sub through
{
	my ($n, $run) = @_;
	my $of = $run // 'NULL';
	ask('TRUNCATE done');
	my $used = cpu();
	ask("BEGIN; DELETE FROM sync.job WHERE run_at = 'infinity'; SELECT count(sync.job_enqueue('bench', $of, jsonb_build_object('number', n))) FROM generate_series(1, $n) n"
		. ($run ? "; SELECT sync.job_enqueue('bench', $run, run_at => 'infinity')" : '') . '; CREATE TABLE began AS SELECT now() AS enqueued_at, clock_timestamp() AS at; COMMIT');
	wait_done($n);
	my $seconds = ask("SELECT extract(epoch FROM max(h.finished_at) - min(b.at)) FROM sync.job_history h, began b WHERE h.created_at = b.enqueued_at");
	my $handled = ask("SELECT count(*) || ' ' || count(DISTINCT h.id) FROM sync.job_history h, began b WHERE h.created_at = b.enqueued_at AND h.outcome = 'done'");
	die "of $n jobs the history has: $handled\n" if $handled ne "$n $n";
	ask('DROP TABLE began');
	return ($seconds, cpu() - $used);
}

# The yardstick: as many rows through a plain table, by as many sessions.  Returns the seconds.
sub plain
{
	my ($n, $sessions) = @_;
	ask("TRUNCATE plain; INSERT INTO plain (payload) SELECT jsonb_build_object('number', n) FROM generate_series(1, $n) n");
	open my $script, '>', "$work/plain.sql" or die "$work/plain.sql: $!";
	print $script "DELETE FROM plain WHERE id = ANY (ARRAY(SELECT id FROM plain WHERE run_at <= now() ORDER BY run_at, id LIMIT $batch FOR UPDATE SKIP LOCKED));\n";
	close $script;
	my $turns = int($n / $batch / $sessions);
	my $start = time;
	system("pgbench -n -c $sessions -j $sessions -t $turns -f $work/plain.sql bench >$work/plain.log 2>&1") == 0 or die "pgbench failed: see $work/plain.log\n";
	my $seconds = time - $start;
	die "rows were left\n" if ask('SELECT count(*) FROM plain') > $sessions * $batch;
	return $seconds;
}

sub load { open my $in, '<', '/proc/loadavg'; return (split ' ', <$in>)[0] }

# The rate, with the yardstick before and after.
for my $workers ($parts{rate} ? (1, 2) : ())
{
	workers($workers);
	through($part / 10);
	my (@ours, @cpu, @plain);
	for (1 .. 3)
	{
		push @plain, plain($part, $workers);
		my ($seconds, $cpu) = through($part);
		push @ours, $seconds;
		push @cpu, $cpu;
	}
	my $rate = $part / min(@ours);
	figure($rate >= 10000, sprintf '%.0f jobs a second by %d worker%s in batches of %d, the best of three times %d (at least 10000); %.0f for each second of CPU; load %s',
		$rate, $workers, $workers > 1 ? 's' : '', $batch, $part, $part / min(@cpu), load());
	printf "queue: yardstick: %.0f rows a second from a plain table, by %d session%s: ratio %.2f\n", $part / min(@plain), $workers, $workers > 1 ? 's' : '', min(@ours) / min(@plain);
}

# One call and one commit a job, while the workers work.
if ($parts{single})
{
	my $calls = $part / 20;
	ask('TRUNCATE done');
	open my $script, '>', "$work/enqueue.sql" or die "$work/enqueue.sql: $!";
	print $script "SELECT sync.job_enqueue('bench', NULL, '{\"number\": 1}');\n";
	close $script;
	my $start = time;
	system("pgbench -n -c 2 -j 2 -t " . $calls / 2 . " -f $work/enqueue.sql bench >$work/enqueue.log 2>&1") == 0 or die "pgbench failed: see $work/enqueue.log\n";
	my $enqueued = time - $start;
	wait_done($calls);
	my $lag = time - $start - $enqueued;
	figure($lag <= 1, sprintf '%.2f s after the last of %d single calls of job_enqueue by 2 sessions, %.0f a second, all were done (at most 1)', $lag, $calls, $calls / $enqueued);
}

# Ten parts, each by both workers.
sub ten_parts
{
	my ($name) = @_;
	my $connection = $name =~ tr{ }{_}r;
	ask("INSERT INTO sync.connection (name, kind, base_url) VALUES ('$connection', 'xorosoft', 'http://localhost/')");
	my $run = ask("WITH r AS (INSERT INTO sync.run (kind, connection, state) VALUES ('xorosoft', '$connection', 'xorosoft_validation') RETURNING id)
		INSERT INTO sync.run_phase (run_id, state, attempt) SELECT id, 'xorosoft_validation', 1 FROM r RETURNING run_id");
	my (@seconds, @cpu);
	for my $i (1 .. 10)
	{
		my ($seconds, $cpu) = through($part, $run);
		push @seconds, $seconds;
		push @cpu, $cpu;
		printf "queue:   %-18s part %2d: %.0f jobs a second, %.0f for each second of CPU; load %s\n", $name, $i, $part / $seconds, $part / max($cpu, 0.01), load();
	}
	figure($seconds[9] / $seconds[0] <= 1.3, sprintf '%s: %.1f us a job in the first of ten parts of %d, %.1f in the last: ratio %.2f (at most 1.30), of CPU time %.2f',
		$name, $seconds[0] / $part * 1e6, $part, $seconds[9] / $part * 1e6, $seconds[9] / $seconds[0], $cpu[9] / max($cpu[0], 0.01));
	die "the phase counted wrongly\n" if ask("SELECT done FROM sync.run_phase WHERE run_id = $run ORDER BY id DESC LIMIT 1") != $jobs;
	ask("UPDATE sync.run SET active = false WHERE id = $run; DELETE FROM sync.job WHERE run_id = $run");
}

workers(2);
ten_parts('finished jobs') if $parts{finished};

# As a backup holds it: it has looked at the queue, too, so that nothing can be truncated.
if ($parts{snapshot})
{
	my $old = session();
	$old->('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM sync.job');
	ten_parts('old snapshot');
	printf "queue: the old snapshot sees %s jobs; sync.job has %s dead rows, and is of %s with its indexes\n", $old->('SELECT count(*) FROM sync.job'),
		ask("SELECT pg_stat_get_dead_tuples('sync.job'::regclass)"), ask("SELECT pg_size_pretty(pg_total_relation_size('sync.job'))");
	$old->('COMMIT');
}

# A network kind, without the network: claimed, asked for its request, answered.
if ($parts{network})
{
	workers(0);
	my $n = $part / 10;
	ask("SELECT count(sync.job_enqueue('bench_request')) FROM generate_series(1, $n)");
	ask(<<'END');
CREATE PROCEDURE answer_all() LANGUAGE plpgsql AS $$
DECLARE
	me integer := sync.worker_register();
	ids bigint[];
BEGIN
	LOOP
		SELECT array_agg(c.job_id) INTO ids FROM sync.worker_claim(me, 200, NULL, '1 minute') c;
		EXIT WHEN ids IS NULL;
		COMMIT;
		PERFORM sync.worker_request(me, 'bench_request', ids);
		COMMIT;
		PERFORM sync.worker_respond(me, 'bench_request', ids, array_fill('{"ok": true, "status": 200}'::jsonb, ARRAY[cardinality(ids)]),
			array_fill('\x7b7d'::bytea, ARRAY[cardinality(ids)]));
		COMMIT;
	END LOOP;
END $$
END
	my $start = time;
	ask('CALL answer_all()');
	printf "queue: a network job costs %.0f us of the queue, claimed, requested and answered in batches of 200\n", (time - $start) / $n * 1e6;
}
exit($missed ? 1 : 0);

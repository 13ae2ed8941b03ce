# A worker that is killed at each step of a push: what was approved is in the shop once, and nothing else.
use strict;
use warnings;
use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use ProductSync::Push;

my $push = ProductSync::Push->new(products => 60, workers => 1, conf => "product_sync.max_workers = 2\nmax_worker_processes = 16", settings => { push_bulk_above => 10 });
my ($node, $shop) = @$push{qw(node shop)};
$push->sql("UPDATE sync.job_kind SET backoff_base = '50 milliseconds', backoff_cap = '500 milliseconds'");
my $server = $push->sql("SELECT count(*) FROM sync.product_listing");
is($server, 60, 'the shop was read');

# Stops the worker that does $event where $when holds, kills it with kill -9, and waits until the server is back.
sub killed_at
{
	my ($event, $when, $do) = @_;
	$push->sql("CREATE OR REPLACE FUNCTION public.stop_here() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NEW; END'"
		. "; CREATE TRIGGER stop_here BEFORE $event FOR EACH ROW WHEN ($when) EXECUTE FUNCTION public.stop_here()");
	my ($in, $out, $error) = ("SELECT pg_advisory_lock(4711), 'held';\n", '', '');
	my $holder = IPC::Run::start([ 'psql', '-X', '-q', '-A', '-t', '-d', $node->connstr('postgres') ], '<', \$in, '>', \$out, '2>', \$error, IPC::Run::timeout(180));
	$holder->pump until $out =~ /held/;
	my $run = $do->();
	my $pid = '';
	for (my $end = time + 30; $pid eq '' && time < $end; sleep 0.02)
	{
		$pid = $push->sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'product_sync worker' AND wait_event = 'advisory' LIMIT 1");
	}
	kill 'KILL', $pid if $pid ne '';
	$holder->kill_kill;
	for (1 .. 600)
	{
		last if $pid eq '' || (eval { $push->sql("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)") } // '') eq 't';
		sleep 0.1;
	}
	my ($table) = $event =~ / ON (\S+)/;
	$push->sql("DROP TRIGGER stop_here ON $table");
	return ($run, $pid);
}

# What of the shop changed since, as "product path value" => how often.
sub effects
{
	my ($since) = @_;
	my %done;
	my @list = @{ $shop->effects->{writes} };
	for my $effect (@list[ $since .. $#list ])
	{
		for my $field (grep { !/updated|on_hand/ } keys %{ $effect->{fields} })
		{
			my $value = $effect->{fields}{$field}[1];
			$done{ "$effect->{product} $field " . (ref $value ? JSON::PP->new->canonical->encode($value) : $value // '') }++;
		}
	}
	return \%done;
}

my ($from, $k) = (1, 0);
sub changes
{
	my ($bulk) = @_;
	my ($first, $last) = ($from, $from + ($bulk ? 11 : 3));
	$k++;
	return "UPDATE sync.variant SET price = price + $k / 100.0 WHERE product_id BETWEEN $first AND $last;"
		. " UPDATE sync.stock_level SET local = base + $k WHERE variant_id IN (SELECT id FROM sync.variant WHERE product_id BETWEEN $first AND $last)";
}

for my $step (
	[ 'stages', 'INSERT ON sync.staging_field', "NEW.path LIKE '%price'" ],
	[ 'hands approved entries to the push', 'INSERT ON sync.push', 'true' ],
	[ 'makes a call', 'INSERT ON sync.push_call', 'true' ],
	[ 'notes what the shop has', 'UPDATE ON sync.push_call', "OLD.step = 'check' AND NEW.step = 'send'" ],
	[ 'notes that a call goes out', 'UPDATE ON sync.push_call', "NEW.sent_at IS NOT NULL AND OLD.sent_at IS NULL AND NEW.part = 'edit'" ],
	[ 'notes that stock goes out', 'UPDATE ON sync.push_call', "NEW.sent_at IS NOT NULL AND OLD.sent_at IS NULL AND NEW.part = 'stock'" ],
	[ 'has the answer to prices', 'INSERT ON sync.push_event', "NEW.to_state = 'synced'" ],
	[ 'writes the base of a price', 'UPDATE ON sync.listing', 'NEW.base IS DISTINCT FROM OLD.base' ],
	[ 'writes the base of stock', 'UPDATE ON sync.stock_level', 'NEW.base IS DISTINCT FROM OLD.base' ],
	[ 'ends an entry', 'UPDATE ON sync.staging', "NEW.state = 'applied'" ],
	[ 'has started a bulk mutation', 'UPDATE ON sync.push_call', 'NEW.bulk_id IS NOT NULL AND OLD.bulk_id IS NULL', 1 ],
	[ 'has the result of a bulk mutation', 'UPDATE ON sync.push_call', "NEW.finished_at IS NOT NULL AND NEW.method = 'bulk'", 1 ])
{
	my ($name, $event, $when, $bulk) = @$step;
	my $since = @{ $shop->effects->{writes} };
	my $changes = changes($bulk);
	my ($run, $pid) = killed_at($event, $when, sub { $push->sql($changes); return $push->sql('SELECT sync_run_shopify_up()') });
	isnt($pid, '', "a worker that $name is killed");
	$push->finish($run);
	for (1 .. 100) { last if $push->sql('SELECT NOT EXISTS (SELECT FROM sync.push WHERE ended_at IS NULL)') eq 't'; sleep 0.1 }
	is($push->apart, '', '... what was approved is in the shop') or diag $push->story($run);
	my $done = effects($since);
	is_deeply([ grep { $done->{$_} > 1 } sort keys %$done ], [], '... once');
	is(scalar(keys %$done), ($bulk ? 12 : 4) * 2 * 3, '... and nothing else') or diag explain $done;
	is($push->sql("SELECT concat_ws(' ', (SELECT count(*) FROM sync.staging WHERE run_id = $run AND state <> 'applied'), (SELECT count(*) FROM sync.push_call WHERE finished_at IS NULL), (SELECT count(*) FROM sync.dead_letter))"),
		'0 0 0', '... with nothing left over') or diag $push->story($run);
}
is($push->sql("SELECT count(*) FROM sync.push p WHERE (SELECT count(*) FROM sync.push_event e WHERE e.push_id = p.id AND e.to_state = 'synced') <> 1"), 0, 'each push was synced once, and that is on record');
$node->stop;
done_testing();

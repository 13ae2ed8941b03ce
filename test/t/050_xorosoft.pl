# The ERP's mirror over HTTP, with background workers: the rate is kept, faults are survived, nothing unfinished is taken for the truth,
# and hundreds of single look-ups cost no more than their time.
use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use ProductSync::Cluster;
use ProductSync::Xorosoft;

my $node = ProductSync::Cluster->start_new('main');
my $x = ProductSync::Xorosoft->start(count => 750);
my %fast = (requests_per_second => 500);

# Runs the mirror to its end; returns the state.
sub mirror
{
	my $run = $node->start_xorosoft;
	return $node->wait_run($run, undef, 120);
}
sub items { return $node->value("SELECT count(*) FROM sync.xorosoft_item WHERE gone_since IS NULL") }
sub settings { my %new = @_; $node->xorosoft($x, %new) }
sub attempts { return $node->value("SELECT coalesce(max(attempt), 0) FROM sync.job_history WHERE kind LIKE 'xorosoft%'") }

# The most requests that started within any window of so many milliseconds.
sub most_within
{
	my ($window) = @_;
	my @times = sort { $a <=> $b } @{ $x->effects->{times} };
	my ($most, $from) = (0, 0);
	for my $to (0 .. $#times)
	{
		$from++ while $times[$to] - $times[$from] >= $window;
		$most = $to - $from + 1 if $to - $from + 1 > $most;
	}
	return $most;
}

# As shipped: two requests a second, under a server that allows no more.
settings();
$x->control(rate => 2, rate_mode => '429', latency_ms => 300);
is(mirror(), 'complete', 'the mirror is read at the shipped rate');
is(items(), 750, 'whole');
is($x->effects->{throttled}, 0, 'without once being throttled');
cmp_ok(most_within(970), '<=', 2, 'no more than two requests in any second');
is($node->value('SELECT count(DISTINCT item_number) FROM sync.xorosoft_stock WHERE on_hand IS NOT NULL'), 750, 'stock too');
is($node->value('SELECT string_agg(DISTINCT mode, \' \') FROM sync.xorosoft_crawl'), 'full', 'the first reading is a full one');
cmp_ok($node->value("SELECT count(*) FROM sync.run_phase WHERE state = 'xorosoft_validation' AND unit = 'pages' AND done = total AND total > 8"), '==', 1, 'progress is in pages');

# Only what changed.
settings(%fast);
$x->control(rate => 0, latency_ms => 0);
$x->put({ ItemNumber => 'CWS-100001', Title => 'Changed' }, { ItemNumber => 'FRESH-1', Title => 'New' });
$x->reset;
is(mirror(), 'complete', 'a second reading');
is($node->value("SELECT title FROM sync.xorosoft_item WHERE item_number = 'CWS-100001'"), 'Changed', 'takes the change');
is(items(), 751, 'and the new item');
my ($last) = reverse grep { $_->{endpoint} =~ /getitem$/ } @{ $x->log };
like($last->{query}, qr/updated_at_min=20\d\d-\d\d-\d\dT/, 'it asked for changes only');
is($x->effects->{endpoints}{'/product/item/getitem'}, 1, 'one page');

# Throttled hard, in each of the two ways: slower, but complete, and no attempt is spent.
for my $mode ('429', 'empty')
{
	# On a busy machine a page may meet the throttle more often than by default.
	settings(%fast, requests_per_second => 50, mirror_full_every => '0', stock_path => 'inventory/getinventorybyitem',
		empty_page_retries => '10');
	$x->reset;
	$x->control(rate => 10, rate_mode => $mode, retry_after => 1);
	is(mirror(), 'complete', "throttled by $mode, the reading completes");
	cmp_ok($x->effects->{throttled}, '>', 0, 'it was throttled');
	is(items(), 751, 'nothing is missing');
	is(attempts(), 1, 'throttling cost no attempt');
	is($node->value('SELECT gaps OR NOT complete FROM sync.xorosoft_crawl WHERE what = \'items\' ORDER BY id DESC LIMIT 1'), 'f', 'no gap');
	$x->control(rate => 0);
}

# Pages that come empty under load are asked for again.
settings(%fast, mirror_full_every => '0');
$x->control(empty_pages => [ 2, 5 ], empty_times => 2);
$x->reset;
is(mirror(), 'complete', 'with pages that come empty twice');
is(items(), 751, 'nothing is missing');
is($node->value('SELECT gaps FROM sync.xorosoft_crawl WHERE what = \'items\' ORDER BY id DESC LIMIT 1'), 'f', 'since they were asked for again');
$x->control(empty_pages => []);

# Passing faults of all kinds: status 500, a web page, a connection cut in the middle and before the answer.
$x->control(fail_next => 2, invalid_json_next => 1, truncate_next => 1, drop_next => 1);
is(mirror(), 'complete', 'passing faults are tried again');
is(items(), 751, 'and cost nothing');

# A reading that cannot finish is not believed: the items that it did not come to stay.
$node->safe_psql('postgres', "UPDATE sync.setting SET value = '1' WHERE name = 'run_attempts'; UPDATE sync.job_kind SET max_attempts = 2, backoff_base = '10 ms' WHERE kind LIKE 'xorosoft%'");
my $before = items();
$x->control(fail_every => 2);
is(mirror(), 'error', 'a reading that fails');
is($node->value("SELECT complete FROM sync.xorosoft_crawl WHERE what = 'items' ORDER BY id DESC LIMIT 1"), 'f', 'is not complete') ;
is(items(), $before, 'nothing is taken for gone');
like($node->value("SELECT last_error FROM sync.run ORDER BY id DESC LIMIT 1"), qr/status.*500.*|500/, 'and the run says why');
$x->control(fail_every => 0);
is(mirror(), 'complete', 'the next run goes on');
is(items(), 751, 'to the end');

# A wrong secret: a clear error at once, the secret nowhere.
$node->secret('xorosoft', 'wr0ng-s3cret');
is(mirror(), 'error', 'a wrong secret ends the run');
like($node->value("SELECT last_error ->> 'hint' FROM sync.run ORDER BY id DESC LIMIT 1"), qr/username and secret_ref/, 'and says where to look');
is($node->value("SELECT count(*) FROM sync.dead_letter WHERE error::text LIKE '%wr0ng%' OR payload::text LIKE '%wr0ng%'") . $node->log_lines('wr0ng'), '00', 'without telling it');
settings(%fast);

# A body without end is cut off by its size, not taken into memory.
$x->control(huge_next => 4);
$node->safe_psql('postgres', "DELETE FROM sync.xorosoft_crawl WHERE NOT complete");
is(mirror(), 'error', 'a body of 64 MB is cut off');
like($node->value("SELECT last_error ->> 'message' FROM sync.run ORDER BY id DESC LIMIT 1"), qr/more came than is allowed/, 'and the run says so');
$x->control(huge_next => 0);
is(mirror(), 'complete', 'and the next reading is as ever');

# 200 look-ups side by side under a slow server, in a run of a feed: what the mirror lacks is asked for one by one.
$node->safe_psql('postgres', <<'SQL');
INSERT INTO sync.connection (name, kind, base_url, settings) VALUES ('feed', 'etilize', 'ftp://127.0.0.1:9/', '{}');
INSERT INTO sync.feed_file (connection, name, state, size, products) VALUES ('feed', 'test.zip', 'loaded', 1, 600);
DO $do$
DECLARE
	file bigint := (SELECT id FROM sync.feed_file WHERE name = 'test.zip');
BEGIN
	EXECUTE format('CREATE TABLE sync.feed_item_test PARTITION OF sync.feed_item FOR VALUES IN (%s)', file);
	ALTER TABLE sync.feed_item_test OWNER TO sync_worker;
	INSERT INTO sync.feed_item (id, feed_file_id, line, product_no, kind, sku, product, variant)
	SELECT (file << 32) + n, file, n, n, 'product', CASE WHEN n <= 100 THEN 'LATE-' || n WHEN n <= 200 THEN 'NEVER-' || n ELSE item_number END, '{}', '{}'
	FROM (SELECT row_number() OVER (ORDER BY item_number) AS n, item_number FROM sync.xorosoft_item WHERE active AND sellable) i WHERE n <= 600;
END
$do$;
-- The phase is kept open by a job that is not due.
CREATE FUNCTION begin_validation() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	this bigint := sync.run_start('etilize', 'feed');
BEGIN
	DELETE FROM sync.job WHERE run_id = this;
	UPDATE sync.run SET feed_file_id = (SELECT id FROM sync.feed_file WHERE name = 'test.zip') WHERE id = this;
	PERFORM sync.run_move(this, s) FROM unnest(ARRAY['ftp_monitoring', 'file_detected', 'downloading', 'processing', 'xorosoft_validation']) s;
	PERFORM sync.job_enqueue('housekeep', this, run_at => now() + interval '1 day');
	PERFORM sync.validation_begin(this);
	RETURN this;
END
$$;
SQL
$x->put(map { { ItemNumber => "LATE-$_", ModifyDttm => '01/01/2023 09:00:00 AM', ActiveFlag => $_ % 10 ? JSON::PP::true : JSON::PP::false } } 1 .. 100);
$x->control(latency_ms => 1000);
$x->reset;
settings(%fast, lookup_limit => 200);
my $started = time;
my $run = $node->value('SELECT begin_validation()');
my $left = 1;
while ($left && time < $started + 90)
{
	sleep 0.1;
	$left = $node->value("SELECT count(*) FROM sync.job WHERE run_id = $run AND kind LIKE 'xorosoft%'");
}
my $took = time - $started;
is($left, 0, 'the validation with 200 look-ups ends');
is($x->effects->{endpoints}{'/product/item/getitem'}, 200, 'as many as the limit allows were made');
cmp_ok($x->effects->{max_concurrency}, '>=', 100, 'side by side');
cmp_ok($took, '<', 30, "and not one after another: $took s");
is($node->value("SELECT string_agg(status || ' ' || looked_up || ' ' || n, ', ' ORDER BY status) FROM (SELECT status, looked_up, count(*) AS n FROM sync.validation WHERE run_id = $run GROUP BY 1, 2) s"),
	'inactive true 10, unknown true 100',
	'found ones are listed no more, sold-out ones as inactive, the rest as unknown');
is($node->value("SELECT count(*) FROM sync.xorosoft_item WHERE item_number LIKE 'LATE-%'"), 100, 'what was found is in the mirror');
is($node->value('SELECT count(*) FROM sync.dead_letter WHERE kind = \'xorosoft_lookup\''), 0, 'none failed');

$node->stop;
done_testing();

# A worker that is killed at each step of a shop's run, at the moment when it writes what it has done: the run ends by itself, with the
# catalogue, the mirror and the agreements of an undisturbed run, nothing lost and nothing twice.
use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use ProductSync::Cluster;
use ProductSync::Shopify;

my $node = ProductSync::Cluster->start_new('main', databases => '', extension => 0, conf => 'max_worker_processes = 16');
my $shop = ProductSync::Shopify->start(products => 80, variants => 2, throttle => 'false');

# The state before the run, from which every scenario starts: a shop that was read, and has changed since.
$node->safe_psql('postgres', 'CREATE DATABASE base');
$node->database('base');
$node->safe_psql('base', 'CREATE EXTENSION product_sync');
$node->safe_psql('base', 'SELECT sync_install()');
$node->shopify($shop, overlap => '2 seconds', max_change_share => 1, shopify_page_size => 20, bulk_batch_products => 30, merge_batch_products => 30,
	retry_wait => '1 second', run_attempts => 5, mirror_shrink_limit => 1);
$node->value("UPDATE sync.job_kind SET backoff_base = '100 milliseconds', backoff_cap = '1 second'");
$node->safe_psql('base', "SELECT sync_run_shopify_down()");
$node->safe_psql('base', "SET statement_timeout = '60s'; CALL sync_work('60 seconds')");
is($node->value('SELECT count(*) FROM sync.product'), 80, 'the shop was read');

my @p = @{ $shop->products };
sub sku { my ($n) = @_; return $p[$n]{variants}[0]{sku} }
# Stock of the ERP, of a product that nothing else changes.
$node->value(<<"END");
UPDATE sync.shopify_location SET store = 'Main' WHERE name = 'Main Warehouse';
INSERT INTO sync.connection (name, kind, base_url) VALUES ('erp', 'xorosoft', 'http://127.0.0.1/');
INSERT INTO sync.xorosoft_item (connection, item_number, item_key) SELECT 'erp', '@{[sku(79)]}', sync.item_key('@{[sku(79)]}');
INSERT INTO sync.xorosoft_stock (connection, item_number, store, on_hand, available) VALUES ('erp', '@{[sku(79)]}', 'Main', 4242, 4242);
UPDATE sync.product SET title = 'Ours ' || id WHERE id % 10 = 0;
INSERT INTO sync.product (handle, title) VALUES ('late', 'Here before');
INSERT INTO sync.variant (product_id, sku, price) SELECT id, 'LATE-0001', 5 FROM sync.product WHERE handle = 'late';
END
$shop->edit(map { { product => $_->{id}, set => { title => "Theirs $_->{id}" } } } @p[0 .. 59]);
$shop->edit({ add => { title => 'Here before', variants => [ { sku => 'LATE-0001', price => '5.00' } ] } }, { add => { title => 'New there', variants => [ { sku => 'NEW-0001', price => '3.50' } ] } },
	{ product => $p[60]{id}, delete => 1 });

sub scenario
{
	my ($database) = @_;
	# The other strategy loses, in a crash right after it, what sequences have given, and unlogged tables: PostgreSQL's own business.
	$node->safe_psql('postgres', "CREATE DATABASE $database TEMPLATE base STRATEGY file_copy");
	$node->database($database);
}
sub work { $node->safe_psql('postgres', "ALTER SYSTEM SET product_sync.databases = '" . $node->database . "'"); $node->reload }
sub start { my ($mode) = @_; return $node->value("SELECT sync_run_shopify_down('$mode')") }

# Lets the run end, and says what came out.
sub outcome
{
	my ($run) = @_;
	return $node->wait_run($run) . "\n" . $node->catalogue . "\n" . $node->value(<<'END');
SELECT 'mirror ' || count(*) || ' ' || count(*) FILTER (WHERE gone_since IS NOT NULL) || ' ' || count(*) FILTER (WHERE merge_due) || ' ' || md5(string_agg(remote_id || document::text || variants, E'\n' ORDER BY remote_id)) FROM sync.shopify_product
UNION ALL SELECT 'stock ' || md5(string_agg(inventory_item_id || ' ' || location_id || ' ' || available, E'\n' ORDER BY inventory_item_id, location_id)) FROM sync.shopify_stock
UNION ALL SELECT 'links ' || count(*) || ' ' || md5(string_agg(l.remote_id || p.handle || l.base || l.base_local, E'\n' ORDER BY l.remote_id)) FROM sync.product_listing l JOIN sync.product p ON p.id = l.product_id
UNION ALL SELECT 'variants ' || count(*) || ' ' || md5(string_agg(l.remote_id || v.sku || l.base || l.base_local, E'\n' ORDER BY l.remote_id)) FROM sync.listing l JOIN sync.variant v ON v.id = l.variant_id
UNION ALL SELECT 'levels ' || count(*) || ' ' || md5(string_agg(concat_ws(' ', v.sku, s.location_id, s.local, s.base, s.erp), E'\n' ORDER BY v.sku, s.location_id)) FROM sync.stock_level s JOIN sync.variant v ON v.id = s.variant_id
UNION ALL SELECT 'conflicts ' || count(*) || ' ' || coalesce(string_agg(path || ' ' || state, ',' ORDER BY product_id, path), '') FROM sync.conflict
UNION ALL SELECT 'entries ' || string_agg(state || ' ' || n, ',' ORDER BY state) FROM (SELECT state::text, count(*) AS n FROM sync.staging GROUP BY 1) s
UNION ALL SELECT 'left ' || count(*) || ' ' || (SELECT count(*) FROM sync.shopify_bulk_line) || ' ' || (SELECT count(*) FROM sync.dead_letter) FROM sync.job
END
}

my %wanted;
for my $mode (qw(delta full))
{
	scenario("undisturbed_$mode");
	work();
	$wanted{$mode} = outcome(start($mode));
	like($wanted{$mode}, qr/^manual_review\nproducts 82 .*conflicts 8 .*left 0 0 0$/s, "the undisturbed $mode run has something of everything");
	note $wanted{$mode};
}

# At which write the worker is stopped, and killed.
my $stock_variant = $node->value("SELECT id FROM sync.variant WHERE sku = '" . sku(79) . "'");
my @steps = (
	[ 'reads a page', 'delta', 'INSERT OR UPDATE ON sync.shopify_product', 'true' ],
	[ 'looks up what events tell of', 'delta', 'UPDATE ON sync.shopify_product', 'NEW.gone_since IS NOT NULL' ],
	[ 'notes the bulk operation that it has started', 'full', 'UPDATE ON sync.shopify_crawl', 'NEW.bulk_id IS NOT NULL AND NEW.expected IS NULL' ],
	[ 'looks whether it is done', 'full', 'UPDATE ON sync.shopify_crawl', 'NEW.expected IS NOT NULL AND NEW.file IS NULL' ],
	[ 'has downloaded the result', 'full', 'UPDATE ON sync.shopify_crawl', 'NEW.file IS NOT NULL' ],
	[ 'has loaded the result', 'full', 'UPDATE ON sync.shopify_crawl', 'NEW.read_at IS NOT NULL AND NEW.products = 0' ],
	[ 'puts products together', 'full', 'INSERT OR UPDATE ON sync.shopify_product', 'true' ],
	[ 'takes for gone what is not there', 'full', 'UPDATE ON sync.shopify_product', 'NEW.gone_since IS NOT NULL' ],
	[ 'links', 'delta', 'INSERT ON sync.product_listing', 'NEW.merged_at IS NULL' ],
	[ 'merges', 'delta', 'INSERT ON sync.product_version', 'true' ],
	[ 'hands something to people', 'delta', 'INSERT ON sync.conflict', 'true' ],
	[ 'writes what was agreed', 'full', 'UPDATE ON sync.product_listing', 'true' ],
	[ 'merges stock', 'full', 'INSERT OR UPDATE ON sync.stock_level', "NEW.variant_id = $stock_variant" ]);
my $n = 0;
for my $step (@steps)
{
	my ($name, $mode, $event, $when) = @$step;
	scenario('killed_' . ++$n);
	$node->value("CREATE FUNCTION stop_here() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NEW; END';"
		. " CREATE TRIGGER stop_here BEFORE $event FOR EACH ROW WHEN ($when) EXECUTE FUNCTION stop_here();");
	my ($in, $out, $error) = ("SELECT pg_advisory_lock(4711), 'held';\n", '', '');
	my $holder = IPC::Run::start([ 'psql', '-X', '-q', '-A', '-t', '-d', $node->connstr($node->database) ], '<', \$in, '>', \$out, '2>', \$error, IPC::Run::timeout(180));
	$holder->pump until $out =~ /held/;
	work();
	my $run = start($mode);
	my $pid = '';
	for (my $end = time + 60; $pid eq '' && time < $end; sleep 0.02)
	{
		$pid = $node->value("SELECT pid FROM pg_stat_activity WHERE backend_type = 'product_sync worker' AND datname = current_database() AND wait_event = 'advisory' LIMIT 1");
	}
	isnt($pid, '', "a worker $name") or diag $node->story($run);
	next if $pid eq '';
	kill 'KILL', $pid;
	$holder->kill_kill;
	# The server has to see that it died, and to come back.
	for (1 .. 600)
	{
		last if (eval { $node->value("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)") } // '') eq 't';
		sleep 0.1;
	}
	is(outcome($run), $wanted{$mode}, "and is killed when it $name") or diag $node->story($run);
}

$shop->blameless;
$node->stop;
done_testing();

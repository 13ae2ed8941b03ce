# The main job: one call brings a feed from the FTP server to staged changes, people and thresholds decide, and what was approved is in
# the catalogue with a version that says where it came from.  Then a changed feed, and one that has not changed.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use ProductSync::Cluster;
use ProductSync::Feed;
use ProductSync::Ftpd;
use ProductSync::Xorosoft;

my $name = 'CowanOfficeSupplies.zip';
my $node = ProductSync::Cluster->start_new('main');
my $ftpd = ProductSync::Ftpd->start;
my $xorosoft = ProductSync::Xorosoft->start(count => 400, known => 0.8, variants => 0.1);
$node->etilize($ftpd, settle => '200 milliseconds', max_change_share => 1);
$node->xorosoft($xorosoft, requests_per_second => 200);

# A shop that has 150 of the 400 already, a third each with barcode, with brand and part number, and with a title only.
my $sql = "$ENV{TESTDATADIR}/shop.sql";
my $manifest = "$ENV{TESTDATADIR}/broken";
my %feed = (products => 400, variants => 0.1);
my $first = ProductSync::Feed::made_up(%feed, catalogue => $sql, existing => 150, broken => 20, manifest => $manifest);
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', 'postgres', '-f', $sql ], 'the shop is loaded');
$ftpd->put($name, \$first);

my $count = sub { return $node->value("SELECT count(*) FROM $_[0]") };
my ($run, $state) = $node->run_etilize;
is($state, 'manual_review', 'the first feed waits for people') or diag $node->story($run);
my @states = split /\n/, $node->value("SELECT state FROM sync.run_phase WHERE run_id = $run ORDER BY id");
is("@states[0 .. 8]", 'idle ftp_monitoring file_detected downloading processing xorosoft_validation matching staging_creation review_pending',
	'it went through every state of the diagram');
is($node->value("SELECT bool_and(ended_at >= started_at) FROM sync.run_phase WHERE run_id = $run AND state <> 'manual_review'"), 't',
	'each with its times');
is($count->("sync.feed_reject"), 20, 'each broken record is listed');
my %listed = map { $_ => 1 } split /\n/, $node->value('SELECT line FROM sync.feed_reject');
is(scalar(grep { !$listed{ (split /\t/)[0] } } split /\n/, slurp_file($manifest)), 0, 'with its line');

my ($updates, $creates) = split /\|/, $node->value("SELECT count(*) FILTER (WHERE kind = 'update'), count(*) FILTER (WHERE kind = 'create') FROM sync.staging WHERE run_id = $run");
cmp_ok($updates, '>=', 95, 'products that the shop has are staged as updates');
cmp_ok($creates, '>=', 225, 'the others as new ones');
is($count->("sync.staging WHERE run_id = $run AND kind = 'create' AND decision = 'approved'"), 0, 'no new product is approved by itself');
is($count->("sync.staging WHERE run_id = $run AND decision = 'approved' AND confidence <= 0.95"), 0, 'nothing is approved by itself at or below the threshold');
cmp_ok($count->("sync.staging WHERE run_id = $run AND state = 'applied'"), '>', 50, 'what is surer than that is, and is applied');
is($count->("sync.staging s WHERE run_id = $run AND kind = 'update' AND NOT EXISTS (SELECT FROM sync.staging_field f WHERE f.staging_id = s.id)"), 0,
	'an update lists the fields that differ');
is($count->("sync.staging WHERE run_id = $run AND reason = ''"), 0, 'each entry says why it is there');
cmp_ok($count->("sync.staging WHERE run_id = $run AND 'unknown_to_erp' = ANY (flags)"), '>', 30, 'products that the ERP does not know are marked');
is($count->("sync.product WHERE id > 150"), 0, 'the catalogue has no product that nobody approved');
cmp_ok($count->("sync.notification WHERE run_id = $run"), '>=', 1, 'people are told that something waits');

# Decisions -------------------------------------------------------------------------------------------------------------------

my ($rejected) = $node->value("SELECT min(id) FROM sync.staging WHERE run_id = $run AND kind = 'create'");
$node->value("UPDATE sync.staging SET decision = 'rejected', note = 'not for us' WHERE id = $rejected");
$node->value(qq(SELECT sync_approve_where('{"run_id": $run}', 'all the rest', dry_run => true)));
is($count->("sync.staging WHERE run_id = $run AND decision = 'pending'") > 0, 1, 'a dry run decides nothing');
$node->value(qq(SELECT sync_approve_where('{"run_id": $run}', 'all the rest', dry_run => false)));
# All at once means that both of two feed products that claim one of the catalogue are approved: the second is not written over the first.
$node->wait_run($run);
is($count->("sync.staging WHERE run_id = $run AND state = 'open' AND NOT flags @> '{stale,shared_match}'"), 0,
	'only what was approved for the same product as something else is to be decided again');
$node->value(qq(SELECT sync_reject_where('{"run_id": $run}', 'the other one is it')));
is($node->wait_run($run), 'complete', 'once all is decided and applied, the run is complete') or diag $node->story($run);
is($count->("sync.staging WHERE run_id = $run AND state = 'open'"), 0, 'nothing is left open');
is($node->value("SELECT state FROM sync.staging WHERE id = $rejected"), 'rejected', 'what was rejected is not applied');
is($count->("sync.product WHERE id > 150"), $creates - 1, 'each approved new product is there, once');
is($count->("(SELECT product_id FROM sync.product_version GROUP BY product_id, version HAVING count(*) > 1) d"), 0, 'no version twice');
is($count->("sync.product p WHERE version <> (SELECT coalesce(max(v.version), 0) FROM sync.product_version v WHERE v.product_id = p.id)"), 0,
	'a product\'s version is that of its newest version row');
is($count->("sync.product_version v LEFT JOIN sync.staging s ON s.id = v.id AND s.product_id = v.product_id AND coalesce(v.approved_by, 'product_sync') = s.decided_by WHERE v.run_id = $run AND (s.id IS NULL OR v.source IS NULL)"), 0,
	'each version names its source, entry and approver');

# A changed feed --------------------------------------------------------------------------------------------------------------

my $second = ProductSync::Feed::made_up(%feed, generation => 1, change => 0.1);
$ftpd->put($name, \$second, time + 100);
my ($next, $then) = $node->run_etilize;
like($then, qr/^(complete|manual_review)$/, 'the changed feed') or diag $node->story($next);
my $changed = $count->("sync.staging WHERE run_id = $next AND kind = 'update'");
cmp_ok($changed, '>', 20, 'stages what changed');
cmp_ok($changed, '<', 80, 'and not what did not');
my $confirmed = "SELECT v.supplier_sku FROM sync.variant_source v JOIN sync.run r ON r.id = $next AND v.confirmed_at <= r.created_at";
is($count->("sync.staging WHERE run_id = $next AND kind = 'update' AND method <> 'link' AND sku IN ($confirmed)"), 0,
	'and what was confirmed before is not matched anew');

$ftpd->put($name, \$second, time + 200);
my ($same, $end) = $node->run_etilize;
is($end, 'complete', 'the same content under a new time') or diag $node->story($same);
is($count->("sync.staging WHERE run_id = $same"), 0, 'is nothing to do');

($same, $end) = $node->run_etilize;
is($end, 'complete', 'and so is a file that has not changed at all');
is($count->("sync.run_phase WHERE run_id = $same AND state = 'downloading'"), 0, 'which is not even downloaded');
is($node->log_lines(qr/PANIC|TRAP|terminated by signal/), 0, 'nothing crashed');

done_testing();

# A bad feed is undone whole, and looked back upon: by the workers, from the feed on the FTP server to the catalogue and back.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use ProductSync::Cluster;
use ProductSync::Feed;
use ProductSync::Ftpd;

my $name = 'CowanOfficeSupplies.zip';
my $node = ProductSync::Cluster->start_new('main');
my $ftpd = ProductSync::Ftpd->start;
$node->etilize($ftpd, settle => '200 milliseconds', max_change_share => 1, auto_approve_creates => 'true');
my %feed = (products => 60, variants => 0.2);
my $count = sub { return $node->value("SELECT count(*) FROM $_[0]") };
my $approve = sub {
	my ($run) = @_;
	$node->value(qq(SELECT sync_approve_where('{"run_id": $run}')));
	return $node->wait_run($run);
};

# A good feed, and what it made of the catalogue.
my $good = ProductSync::Feed::made_up(%feed);
$ftpd->put($name, \$good);
my ($first) = $node->run_etilize;
is($approve->($first), 'complete', 'the good feed is in the catalogue') or diag $node->story($first);
$node->value('CREATE TABLE before AS SELECT p.id, sync.product_document(p.id) AS document, clock_timestamp() AS at FROM sync.product p');

# A bad one: a third of all products changed, and some more of them.
my $bad = ProductSync::Feed::made_up(%feed, products => 70, generation => 1, change => 0.3);
$ftpd->put($name, \$bad, time + 100);
my ($second) = $node->run_etilize;
is($approve->($second), 'complete', 'the bad feed too') or diag $node->story($second);
my $changed = $count->("before b WHERE b.document <> sync.product_document(b.id)");
cmp_ok($changed, '>', 5, 'it changed products');
my $made = $count->("sync.product p WHERE NOT EXISTS (SELECT FROM before b WHERE b.id = p.id)");
cmp_ok($made, '>', 5, 'and made some');
is($count->("before b WHERE sync_as_of(b.id, b.at) <> b.document"), 0, 'each product is read back as it was');
is($count->("before b WHERE sync_as_of(b.id) <> sync.product_document(b.id)"), 0, 'and as it is');
is($count->("sync_blame((SELECT min(product_id) FROM sync.product_change WHERE run_id = $second)) WHERE run_id = $second") > 0, 1, 'whose values they are is told');

# A person mends one of them, then undoes the rest.
my ($mended) = $node->value("SELECT min(product_id) FROM sync.product_change WHERE run_id = $second AND path = 'title'");
$mended = $node->value("SELECT min(product_id) FROM sync.product_change WHERE run_id = $second") if $mended eq '';
$node->value("UPDATE sync.product SET title = 'Mended' WHERE id = $mended");
$node->value("UPDATE sync.variant SET price = 77 WHERE product_id = $mended");
my $undo = $node->value("SELECT sync_rollback_run($second)");
is($node->value("SELECT state FROM sync.run WHERE id = $undo"), 'manual_review', 'undoing waits for people');
is($count->("before b WHERE b.document <> sync.product_document(b.id)"), $changed, 'and changes nothing yet');
is($approve->($undo), 'complete', 'once approved') or diag $node->story($undo);
is($count->("before b WHERE b.id <> $mended AND b.document <> sync.product_document(b.id)"), 0, 'each product is as it was');
is($node->value("SELECT title FROM sync.product WHERE id = $mended"), 'Mended', 'but what a person changed since');
is($count->("sync.product p WHERE NOT EXISTS (SELECT FROM before b WHERE b.id = p.id) AND status = 'archived'"), $made, 'new products are archived');
is($count->("sync.product p WHERE version <> (SELECT max(v.version) FROM sync.product_version v WHERE v.product_id = p.id)"), 0, 'versions are counted on');

# The bad values again, in a file that is another one.
my $again = ProductSync::Feed::made_up(%feed, products => 70, generation => 1, change => 0.3, broken => 3, manifest => "$ENV{TESTDATADIR}/broken");
$ftpd->put($name, \$again, time + 200);
my ($third, $state) = $node->run_etilize;
is($state, 'complete', 'the bad feed comes again') or diag $node->story($third);
is($node->value("SELECT string_agg(DISTINCT f.path, ' ') FROM sync.staging s JOIN sync.staging_field f ON f.staging_id = s.id WHERE s.run_id = $third AND s.product_id <> $mended"),
	'', 'and brings nothing back by itself');
is($count->("before b WHERE b.id <> $mended AND b.document <> sync.product_document(b.id)"), 0, 'the catalogue stays as it was');
is($node->log_lines(qr/PANIC|TRAP|terminated by signal/), 0, 'nothing crashed');

done_testing();

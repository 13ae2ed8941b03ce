# Files that are broken or meant to harm: each run ends in an error of its own that says what is wrong, nothing is staged, the server
# is unharmed, and the next good file works.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use ProductSync::Cluster;
use ProductSync::Feed;
use ProductSync::Ftpd;
use ProductSync::Xorosoft;

my $name = 'CowanOfficeSupplies.zip';
my $node = ProductSync::Cluster->start_new('main', conf => "product_sync.feed_max_megabytes = 64");
my $ftpd = ProductSync::Ftpd->start;
my $xorosoft = ProductSync::Xorosoft->start(count => 10);
$node->etilize($ftpd, settle => '100 milliseconds', retry_wait => '1 second');
$node->xorosoft($xorosoft, requests_per_second => 1000);

my %says = (
	truncated => qr/cut short/, corrupt => qr/damaged/, encrypted => qr/encrypted/,
	bomb => qr/more than 200 times its size/, lying => qr/member "feed.csv"/, many => qr/5000 members/,
	path => qr/unsafe name "\.\.\/x/, empty => qr/is empty/, empty_member => qr/CSV is empty/, no_csv => qr/no member \*\.csv/, no_sku => qr/no column for variant\.sku/,
	not_zip => qr/not a zip file/,
);
my $clock = time;
my %seen;
is("@{[ sort keys %says ]}", "@{[ ProductSync::Feed::hostile() ]}", 'each kind of hostile file has its test');
for my $kind (sort keys %says)
{
	$ftpd->put($name, ProductSync::Feed::hostile($kind), $clock += 100);
	my ($run, $state) = $node->run_etilize;
	my $message = $node->value("SELECT concat_ws('; ', last_error ->> 'message', last_error ->> 'detail') FROM sync.run WHERE id = $run");
	my $held = $node->value("SELECT coalesce(held_reason, '') FROM sync.run WHERE id = $run");
	like($state, qr/^(error|held)$/, "$kind: the run ends") or diag $node->story($run);
	like("$message$held", $says{$kind}, "$kind: saying why");
	note "$kind: $state: $message$held";
	my $twin = $kind eq 'truncated' ? 'not_zip' : '';    # without its end, a zip cannot be told from something else
	ok(!grep({ $_ ne $twin && $seen{$_} eq "$message$held" } keys %seen), "$kind: in words of its own");
	$seen{$kind} = "$message$held";
	is($node->value('SELECT count(*) FROM sync.staging'), 0, "$kind: nothing is staged");
	$node->value("SELECT sync_cancel($run)") if $state eq 'held';
}
is($node->value('SELECT count(*) FROM sync.feed_item'), 0, 'no row of them is left');
ok(!-e $node->data_dir . '/x.csv' && !-e $node->data_dir . '/../x.csv' && !-e $node->data_dir . '/product_sync/../x.csv', 'no file was written outside');
is($node->value("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'product_sync coordinator'"), 1, 'the coordinator is there');

$ftpd->put($name, ProductSync::Feed::by_hand(
	map { { Title => "Binder $_", 'URL handle' => "binder-$_", Vendor => 'Acme', Type => 'Binders', SKU => "HB-$_", Price => '9.95' } } 1 .. 50), $clock += 100);
my ($run, $state) = $node->run_etilize;
is($state, 'manual_review', 'the next good file works') or diag $node->story($run);
is($node->value("SELECT count(*) FROM sync.staging WHERE run_id = $run"), 50, 'with all its products');
is($node->log_lines(qr/PANIC|TRAP|terminated by signal/), 0, 'nothing crashed');

done_testing();

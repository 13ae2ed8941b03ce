# Two shops in one cluster, each in a database of its own: their feeds have the same name and number, and never meet.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use ProductSync::Cluster;
use ProductSync::Feed;
use ProductSync::Ftpd;
use ProductSync::Xorosoft;

my $node = ProductSync::Cluster->start_new('main', databases => 'one, two', extension => 0, conf => 'max_worker_processes = 16');
my $xorosoft = ProductSync::Xorosoft->start(count => 1);
my %ftpd;
for my $shop (qw(one two))
{
	$node->safe_psql('postgres', "CREATE DATABASE $shop");
	$node->safe_psql($shop, 'CREATE EXTENSION product_sync');
	$node->safe_psql($shop, 'SELECT sync_install()');
	$node->database($shop);
	$ftpd{$shop} = ProductSync::Ftpd->start;
	$node->etilize($ftpd{$shop}, settle => '100 milliseconds');
	$node->xorosoft($xorosoft, requests_per_second => 1000);
	$ftpd{$shop}->put('CowanOfficeSupplies.zip', ProductSync::Feed::zip('feed.csv' => ProductSync::Feed::csv(
		map { { Title => "Binder $shop $_", 'URL handle' => "binder-$_", Vendor => 'Acme', Type => 'Binders', SKU => "$shop-$_", Price => '9.95' } } 1 .. 50)), 1700000000);
}
$node->reload;
my %run;
for my $shop (qw(one two))
{
	$node->database($shop);
	$run{$shop} = $node->start_etilize;
}
for my $shop (qw(one two))
{
	$node->database($shop);
	is($node->wait_run($run{$shop}), 'manual_review', "shop $shop has its feed") or diag $node->story($run{$shop});
	is($node->value("SELECT count(*) FROM sync.staging WHERE sku LIKE '$shop-%'"), 50, 'all of it');
	is($node->value("SELECT count(*) FROM sync.staging WHERE sku NOT LIKE '$shop-%'"), 0, 'and nothing of the other');
}

done_testing();

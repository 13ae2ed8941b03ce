# The extension comes up in a fresh cluster, preloaded, and its tables are there.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use ProductSync::Cluster;

my $node = ProductSync::Cluster->start_new('main');
like($node->value('SELECT sync_install()'), qr/^already/, 'installing twice is installing once');
is($node->value("SELECT count(*) FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'product_sync' JOIN pg_class c ON c.oid = d.objid AND d.classid = 'pg_class'::regclass WHERE c.relkind IN ('r', 'p', 'S') AND d.deptype = 'e'"),
	0, 'no table belongs to the extension, so that no DROP EXTENSION takes rows along');
is($node->value("SELECT count(*) FROM pg_class c WHERE c.relnamespace = 'sync'::regnamespace AND c.relkind IN ('r', 'p') AND pg_get_userbyid(c.relowner) <> 'sync_worker'"),
	0, 'the tables belong to sync_worker');
$node->stop;
done_testing();

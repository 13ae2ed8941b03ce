# What a person can call or set is documented: in README.md, and in the comment that \df+ shows.
use strict;
use warnings;
use FindBin qw($RealBin);
use PostgreSQL::Test::Utils;
use Test::More;
use ProductSync::Cluster;

my $node = ProductSync::Cluster->start_new('main');
my $readme = slurp_file("$RealBin/../../README.md");
my @calls = split /\n/, $node->value("SELECT DISTINCT proname FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e' WHERE proname ~ '^sync_' AND pronamespace = 'public'::regnamespace ORDER BY 1");
my @settings = split /\n/, $node->value('SELECT name FROM sync.setting ORDER BY 1');
my @server = split /\n/, $node->value("SELECT name FROM pg_settings WHERE name LIKE 'product_sync.%' ORDER BY 1");

cmp_ok(scalar @calls, '>', 15, 'there are calls');
is(join(' ', grep { $readme !~ /\b\Q$_\E\(/ } @calls), '', 'README.md has every call');
is(join(' ', grep { $readme !~ /^\| `\Q$_\E` \|/m } @settings), '', 'README.md has every setting of the flow');
is(join(' ', grep { $readme !~ /^\| `\Q$_\E` \|/m } @server), '', 'README.md has every setting of the server');
is($node->value("SELECT string_agg(proname, ' ') FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e' WHERE proname ~ '^sync_' AND pronamespace = 'public'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL"),
	'', 'every call has a comment');
is($node->value("SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class c WHERE relnamespace = 'sync'::regnamespace AND relkind IN ('r', 'p', 'v') AND NOT relispartition AND obj_description(c.oid, 'pg_class') IS NULL"),
	'', 'every table has a comment');
is($node->value("SELECT string_agg(p.oid::regprocedure::text, ' ') FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e' JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'product_sync', aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0"),
	'', 'no function is granted to PUBLIC');
is($node->value("SELECT string_agg(p.oid::regprocedure::text, ' ') FROM pg_proc p WHERE p.prosecdef AND (p.pronamespace = 'sync'::regnamespace OR p.proname ~ '^sync_') AND (NOT coalesce(p.proconfig, '{}') \@> ARRAY['search_path=\"\"'] OR pg_get_userbyid(p.proowner) <> 'sync_worker')"),
	'', 'what runs with the rights of its owner belongs to sync_worker and has an empty search path');
is($node->value("SELECT string_agg(relname, ' ') FROM pg_class c WHERE relnamespace = 'sync'::regnamespace AND relkind = 'r' AND relpersistence = 'p' AND NOT relispartition AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND i.indnkeyatts = 1)"),
	'', 'every table has a primary key of one column');
$node->stop;
done_testing();

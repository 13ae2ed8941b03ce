# The catalogue outlives the extension, and a dump carries what the user added to the tables: rows, an index, a policy, a grant.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use ProductSync::Cluster;

my $node = ProductSync::Cluster->start_new('main');
my $dump = "$ENV{TESTDATADIR}/shop.dump";

$node->safe_psql('postgres', <<'END');
CREATE ROLE auditor;
INSERT INTO sync.connection (name, kind, base_url, settings) VALUES ('feed', 'etilize', 'ftp://127.0.0.1:1/', '{"retry_wait": "1 hour"}');
INSERT INTO sync.product (handle, title, vendor, tags, images, metafields) VALUES
	('stapler', 'Stapler, "full strip"', 'Swingline', '{a,b}', '[{"src": "http://x/1.jpg"}]', '{"custom.CWS_A": "A1"}'),
	('paper', 'Paper — A4', 'Hammermill', '{}', '[]', '{}');
INSERT INTO sync.variant (product_id, sku, gtin, price) SELECT id, upper(handle), '00012345678905', 12.3400 FROM sync.product;
INSERT INTO sync.feed_profile (name, description) VALUES ('mine', 'a profile of the user''s own');
UPDATE sync.setting SET value = '7 minutes' WHERE name = 'retry_wait';
CREATE INDEX mine ON sync.product (lower(title));
ALTER TABLE sync.variant ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON sync.variant FOR SELECT TO auditor USING (price < 100);
GRANT USAGE ON SCHEMA sync TO auditor;
GRANT SELECT ON sync.variant TO auditor;
END

# What must survive, as text.
sub what_there_is
{
	my ($server, $database) = @_;
	my @tables = split /\n/, $server->safe_psql($database, "SELECT oid::regclass FROM pg_class WHERE relnamespace = 'sync'::regnamespace AND relkind = 'r' ORDER BY relname");
	my $rows = join '', map { "$_: " . $server->safe_psql($database, "SELECT count(*), md5(coalesce(string_agg(t::text, E'\\n' ORDER BY t::text COLLATE \"C\"), '')) FROM $_ t") . "\n" } @tables;
	return $rows . $server->safe_psql($database, <<'END');
SELECT indexdef FROM pg_indexes WHERE schemaname = 'sync' ORDER BY indexname;
SELECT tablename, policyname, roles, cmd, qual FROM pg_policies WHERE schemaname = 'sync' ORDER BY 1, 2;
SELECT table_name, grantee, privilege_type FROM information_schema.table_privileges WHERE table_schema = 'sync' ORDER BY 1, 2, 3;
SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal AND tgrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'sync'::regnamespace) ORDER BY 1, 2;
SELECT c.relname::text, relrowsecurity FROM pg_class c WHERE relnamespace = 'sync'::regnamespace AND relkind = 'r' AND relrowsecurity;
END
}

my $before = what_there_is($node, 'postgres');
like($before, qr/product: 2\|/, 'there is something to lose');
like($before, qr/auditor.*SELECT/, 'and a grant');

$node->safe_psql('postgres', 'DROP EXTENSION product_sync');
is(what_there_is($node, 'postgres'), $before, 'DROP EXTENSION keeps every row, index, policy, grant and trigger');
$node->safe_psql('postgres', "UPDATE sync.product SET description = 'edited while the extension was away' WHERE handle = 'paper'");
$node->safe_psql('postgres', 'CREATE EXTENSION product_sync');
is($node->value('SELECT sync_install()'), 'already at step 4', 'the extension finds its tables');
my $refreshed = what_there_is($node, 'postgres');
is($node->value("SELECT value FROM sync.setting WHERE name = 'retry_wait'"), '7 minutes', 'and leaves settings of the user alone');

my $other = PostgreSQL::Test::Cluster->new('other');
$other->init;
$other->start;
$other->safe_psql('postgres', 'CREATE ROLE auditor');
command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr('postgres') ], 'pg_dump');
$other->safe_psql('postgres', 'CREATE DATABASE shop');
command_ok([ 'pg_restore', '--exit-on-error', '-d', $other->connstr('shop'), $dump ], 'pg_restore into an empty server, which has not even the roles');
is(what_there_is($other, 'shop'), $refreshed, 'brings back every row, index, policy, grant and trigger');
is($other->safe_psql('shop', 'SELECT sync_install()'), 'already at step 4', 'with an extension that knows them');
is($other->safe_psql('shop', "SET ROLE auditor; SELECT count(*) FROM sync.variant"), 2, 'the policy admits the auditor');
$other->safe_psql('shop', 'SELECT sync_run_etilize()');
$other->safe_psql('shop', "CALL sync_work('5 seconds')");
isnt($other->safe_psql('shop', 'SELECT state FROM sync.run'), 'idle', 'and it works there, without preloading');

# A database whose tables are those of the first version.
$other->safe_psql('postgres', 'CREATE DATABASE old');
$other->safe_psql('old', 'CREATE EXTENSION product_sync; SET ROLE sync_worker; SELECT sync.install_step_1(); INSERT INTO sync.installed_step (step) VALUES (1)');
is($other->safe_psql('old', 'SELECT sync.schema_ready()'), 'f', 'workers wait while the tables are older than the library');
is($other->safe_psql('old', 'SELECT sync_install()'), 'upgraded from step 1 to step 4', 'sync_install() upgrades them');
is($other->safe_psql('old', 'SELECT sync.schema_ready()'), 't', 'and then they are ready');
$node->stop;
$other->stop;
done_testing();

# What is in the tables is the user's: DROP EXTENSION leaves it, and pg_dump into an empty server and CREATE EXTENSION bring it back,
# with the indexes, policies and grants that the user added.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use ProductSync::Cluster;

my $node = ProductSync::Cluster->start_new('main');
my $other = ProductSync::Cluster->start_new('other', extension => 0);

$node->safe_psql('postgres', <<'END');
CREATE ROLE shop_user;
INSERT INTO sync.connection (name, kind, base_url, secret_ref) VALUES ('etilize', 'etilize', 'ftp://example.com/', 'file:etilize');
INSERT INTO sync.product (handle, title, vendor) SELECT 'binder-' || n, 'Binder ' || n, 'Acme' FROM generate_series(1, 100) n;
INSERT INTO sync.variant (product_id, sku, price) SELECT id, 'HB-' || id, id * 1.25 FROM sync.product;
INSERT INTO sync.run (kind, connection, state, active) VALUES ('etilize', 'etilize', 'manual_review', false);
INSERT INTO sync.staging (run_id, connection, kind, reason, confidence, method, product_no, document)
SELECT r.id, 'etilize', 'create', 'new', 1, 'none', n, '{"title": "x"}' FROM sync.run r, generate_series(1, 10) n;
UPDATE sync.setting SET value = '0.9' WHERE name = 'auto_approve_threshold';
CREATE INDEX product_vendor_of_ours ON sync.product (vendor);
ALTER TABLE sync.product ENABLE ROW LEVEL SECURITY;
CREATE POLICY products_of_acme ON sync.product FOR SELECT TO shop_user USING (vendor = 'Acme');
GRANT USAGE ON SCHEMA sync TO shop_user;
GRANT SELECT ON sync.product TO shop_user;
END

# What must survive, as text.
my $content = sub {
	my ($where) = @_;
	return $where->catalogue('postgres') . "\n" . $where->safe_psql('postgres', <<'END');
SELECT 'staging ' || count(*) FROM sync.staging
UNION ALL SELECT 'setting ' || value FROM sync.setting WHERE name = 'auto_approve_threshold'
UNION ALL SELECT 'tables ' || count(*) FROM pg_class WHERE relnamespace = 'sync'::regnamespace AND relkind IN ('r', 'p')
UNION ALL SELECT 'index ' || count(*) FROM pg_indexes WHERE indexname = 'product_vendor_of_ours'
UNION ALL SELECT 'policy ' || count(*) FROM pg_policies WHERE policyname = 'products_of_acme'
UNION ALL SELECT 'row security ' || relrowsecurity FROM pg_class WHERE oid = 'sync.product'::regclass
UNION ALL SELECT 'grant ' || has_table_privilege('shop_user', 'sync.product', 'SELECT')
UNION ALL SELECT 'owner ' || pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'sync.product'::regclass
UNION ALL SELECT 'triggers ' || count(*) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relnamespace = 'sync'::regnamespace AND NOT t.tgisinternal
END
};
my $before = $content->($node);
like($before, qr/^products 100 /, 'there is something to lose');

my $dump = "$ENV{TESTDATADIR}/dump.sql";
$node->command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', $dump ], 'pg_dump');
my $roles = "$ENV{TESTDATADIR}/roles.sql";
$node->command_ok([ 'pg_dumpall', '--roles-only', '-d', $node->connstr('postgres'), '-f', $roles ], 'pg_dumpall of the roles');

$node->safe_psql('postgres', 'DROP EXTENSION product_sync');
is($content->($node), $before, 'DROP EXTENSION leaves every row, index, policy and grant');
$node->safe_psql('postgres', "UPDATE sync.product SET title = title || '!' WHERE id = 1; INSERT INTO sync.variant (product_id, sku) VALUES (1, 'HB-1b'); DELETE FROM sync.variant WHERE sku = 'HB-1b'; UPDATE sync.product SET title = rtrim(title, '!') WHERE id = 1");
pass('the tables can be read and written without the extension');
$node->safe_psql('postgres', 'CREATE EXTENSION product_sync');
like($node->value('SELECT sync_install()'), qr/^already/, 'created again, it finds its tables');
is($node->value('SELECT count(*) FROM sync.product'), 100, 'with the rows in them');

$other->command_ok([ 'psql', '-X', '-q', '-d', 'postgres', '-f', $roles ], 'the roles in an empty server');
my ($out, $err) = run_command([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $other->connstr('postgres'), '-f', $dump ]);
is($err, '', 'the dump goes into an empty server without an error');
is($content->($other), $before, 'every row, index, policy and grant is there');
is($other->safe_psql('postgres', "SELECT count(*) FROM pg_extension WHERE extname = 'product_sync'"), 1, 'the extension too');
like($other->safe_psql('postgres', 'SELECT sync_install()'), qr/^already/, 'at the same step');
is($other->safe_psql('postgres', "INSERT INTO sync.product (handle, title) VALUES ('after', 'After') RETURNING id > 100"), 't', 'new rows get new ids');

done_testing();

# Every case of the conflict decision tree: test/decisions.tsv, which docs/conflicts.md explains row by row.  A wrong decision overwrites a
# price, a stock or a text that somebody meant.
use strict;
use warnings;
use FindBin qw($RealBin);
use PostgreSQL::Test::Utils;
use Test::More;
use ProductSync::Cluster;

my $node = ProductSync::Cluster->start_new('main');
my @lines = split /\n/, slurp_file("$RealBin/../decisions.tsv");
my $docs = slurp_file("$RealBin/../../docs/conflicts.md");
my @wanted = qw(case field base local shopify context outcome value rule);
my (%cases, $sql, @names);

sub literal
{
	my ($value) = @_;
	return 'NULL' if $value eq '-';
	$value =~ s/'/''/g;
	return "'$value'";
}

is(join(' ', split /\t/, shift @lines), "@wanted", 'columns of decisions.tsv');
$sql = 'CREATE TABLE c (n int, ' . join(', ', map { "\"$_\" " . (/^(base|local|shopify|context|value)$/ ? 'jsonb' : 'text') } @wanted) . ");\n";
for my $line (grep { !/^#/ } @lines)
{
	my @cells = split /\t/, $line, -1;
	is(scalar @cells, scalar @wanted, "nine cells: $line") if @cells != @wanted;
	push @names, "$cells[0]: $cells[1] $cells[2] | $cells[3] | $cells[4] $cells[5]";
	$cases{ $cells[0] } = 1;
	$sql .= "INSERT INTO c VALUES (" . scalar(@names) . ', ' . join(', ', map { literal($_) } @cells) . ");\n";
}
$node->safe_psql('postgres', $sql);

# One row a case and way to ask, wrong ones with what came out.
sub wrong
{
	my ($from, $where) = @_;
	return $node->value("SELECT string_agg(c.n || ' ' || c.\"case\" || ': ' || concat_ws(' ', d.outcome, d.value::text, d.rule, '(' || d.reason || ')'), E'\\n' ORDER BY c.n)
		FROM c CROSS JOIN LATERAL $from d
		WHERE ($where) AND (d.outcome, d.value::text, d.rule) IS DISTINCT FROM (c.outcome, c.value::text, c.rule)");
}

cmp_ok(scalar @names, '>', 150, 'there are cases');
is(wrong('sync_merge(c.field, c.base, c.local, c.shopify, c.context)', 'true'), '', 'sync_merge decides every case');
is(wrong('sync_decide(c.field, c.local, c.shopify, c.context)', 'c.base IS NULL'), '', 'sync_decide decides every case without a base');
is(wrong(q[sync_merge(c.field, c.base, c.local, c.shopify, jsonb_build_object('rules', sync.decision_rules('shop')) || c.context)], 'true'),
	'', 'the rules that are shipped say what the tree says by itself');
is(wrong(q[sync.decide_field(c.field, c.base, c.local, c.shopify, coalesce(c.context -> 'rules', sync.decision_rules('shop')), c.context)], 'c.base IS NULL'),
	'', 'so does the merge');
is(wrong(q[sync.decide_merge(c.field, c.base, c.local, c.shopify, coalesce(c.context -> 'rules', sync.decision_rules('shop')), c.context)], 'true'),
	'', 'with and without a base');
is($node->value("SELECT count(*) FROM c CROSS JOIN LATERAL sync_merge(c.field, c.base, c.local, c.shopify, c.context) d WHERE d.reason = '' OR d.reason ~ '[[:cntrl:]]' OR d.outcome = 'manual' AND d.value IS NOT NULL"),
	'0', 'each has its reason, and a person is given no value');

# The same tree read from both sides of Shopify's border.
is($node->value("SELECT count(*) FROM generate_series(1, 2000) g CROSS JOIN LATERAL sync_decide('price', to_jsonb(g), to_jsonb(1000)) d WHERE d.outcome <> CASE WHEN g = 1000 THEN 'equal' WHEN abs(g - 1000) * 100 < 5 * least(g, 1000) THEN 'use_shopify' ELSE 'manual' END"),
	'0', 'prices: the formula, and no other');
is($node->value("SELECT count(*) FROM generate_series(0, 40) l, generate_series(0, 40) s CROSS JOIN LATERAL sync_decide('inventory', to_jsonb(l), to_jsonb(s)) d WHERE d.outcome || coalesce(d.value::text, '') <> CASE WHEN l = s THEN 'equal' || s WHEN s = 0 THEN 'use_local' || l WHEN abs(l - s) < 10 THEN 'use_lower' || least(l, s) ELSE 'manual' END"),
	'0', 'stock: the formula, and no other');

is(join("\n", grep { index($docs, "| $_ |") < 0 } sort keys %cases), '', 'docs/conflicts.md explains every case');
is(join("\n", grep { !$cases{$_} } $docs =~ /^\| ((?:price|stock|description|other|rules|merge): .*?) \|/mg), '', 'and no other');

# The other half of the page: its examples run, and its table of the context is whole.
my ($context) = $docs =~ /^## What a context may hold\n(.*)/ms;
my %documented = map { $_ => 1 } map { /`(\w+)`/g } $context =~ /^\| (`.*?) \|/mg;
my %known = map { $_ => 1 } slurp_file("$RealBin/../../src/conflict/decide_json.c") =~ /^\t(?:FACT\(|\{)"(\w+)"/mg;
is_deeply([ sort keys %documented ], [ sort keys %known ], 'docs/conflicts.md has what a context may hold');
my @examples = grep { !/^--/ } $docs =~ /^    (.*)$/mg;
cmp_ok(scalar @examples, '>', 8, 'there are examples');
for my $example (@examples)
{
	my ($ret, $out, $err) = $node->psql('postgres', "BEGIN; $example\n; ROLLBACK;", on_error_stop => 1);
	is($ret, 0, "example runs: $example") or diag($err);
}
$node->stop;
done_testing();

# A change of the matcher that makes it worse is seen: on the labelled sets where they are, and on sets that are made here, no figure may be
# more than one point worse than recorded in test/quality.tsv.  After a change for the better `test/record_quality` records anew.
use strict;
use warnings;
use FindBin qw($RealBin);
use PostgreSQL::Test::Utils;
use Test::More;
use ProductSync::Cluster;

my $point = 0.01;
my $recorded_in = "$RealBin/../quality.tsv";
my $data = $ENV{MATCHING_DATA} // "$RealBin/../../../shared/data/matching";
my %recorded = map { my ($set, $figure, $value) = split /\t/; ("$set\t$figure", $value) } grep { !/^#/ } split /\n/, slurp_file($recorded_in);
my %now;
my $node = ProductSync::Cluster->start_new('main');

# What is better: more, or less.
sub is_error { return $_[0] =~ /_error$|^false_/ }

sub load_csv
{
	my ($table, $file) = @_;
	open my $in, '<', $file or die "$file: $!";
	my $header = <$in>;
	$header =~ s/\s+\z//;
	my $columns = join ', ', map { "$_ text" } split /,/, $header;
	$node->safe_psql('postgres', "CREATE TABLE $table ($columns);\n\\copy $table FROM '$file' CSV HEADER");
}

# Measures what sync_match() says of incoming and existing, whose true pairs are in table pair.
sub measure
{
	my ($set) = @_;
	$node->safe_psql('postgres', "CREATE TABLE result AS SELECT * FROM sync_match('incoming', 'existing')");
	my %figure = map { split /\|/ } split /\n/, $node->safe_psql('postgres', "SELECT figure, value FROM figures.quality('result')");
	$now{"$set\t$_"} = $figure{$_} for qw(f1 precision_95 coverage_95 calibration_error);
	my $recall = $node->value('SELECT figures.candidate_recall(20)');
	$now{"$set\tcandidate_recall"} = $recall if $recall ne '';
}

# Then without the true matches.
sub measure_new
{
	my ($set) = @_;
	$node->safe_psql('postgres', 'DELETE FROM existing e USING pair p WHERE p.existing_id = e.id');
	$now{"$set\tfalse_approvals"} = $node->value("SELECT 1.0 * count(*) FILTER (WHERE confidence >= 0.95) / (SELECT count(*) FROM incoming) FROM sync_match('incoming', 'existing')");
}

sub forget { $node->safe_psql('postgres', 'DROP TABLE IF EXISTS incoming, existing, pair, result, label, truth') }

sub sql_file { return slurp_file("$RealBin/../lib/match/$_[0].sql") }

$node->safe_psql('postgres', sql_file('figures'));

SKIP:
{
	skip "there are no labelled sets in $data", 1 unless -d "$data/abt-buy";
	for (['abt-buy', 'tableB', 'tableA', 'idB', 'idA'], ['walmart-amazon', 'tableA', 'tableB', 'idA', 'idB'])
	{
		my ($set, $incoming, $existing, $incoming_id, $existing_id) = @$_;
		load_csv('incoming', "$data/$set/$incoming.csv");
		load_csv('existing', "$data/$set/$existing.csv");
		load_csv('label', "$data/$set/matches.csv");
		$node->safe_psql('postgres', "CREATE TABLE pair AS SELECT $incoming_id AS incoming_id, $existing_id AS existing_id FROM label");
		measure($set);
		measure_new($set);
		forget();
	}
	pass('the labelled sets were measured');
}

# Troubled codes: what the exact stage would approve by itself.
$node->safe_psql('postgres', "\\set items 6000\n" . sql_file('corruption'));
$node->safe_psql('postgres', 'CREATE TABLE pair AS SELECT incoming_id, existing_id FROM truth WHERE existing_id IS NOT NULL');
measure('corruption');
($now{"corruption\texact_precision"}, $now{"corruption\texact_coverage"}) = split /\|/, $node->value(
	'SELECT 1 - 1.0 * sum(wrong) / greatest(sum(approved), 1), 1.0 * (sum(approved) - sum(wrong)) / sum(has_match) FROM figures.exact_stage()');
note "corruption, wrong by trouble: $_" for split /\n/, $node->value('SELECT trouble, approved, wrong FROM figures.exact_stage() WHERE wrong > 0 ORDER BY wrong DESC');

# The same products by titles alone.
$node->safe_psql('postgres', 'DROP TABLE pair, result;' . sql_file('titles'));
$node->safe_psql('postgres', 'CREATE TABLE pair AS SELECT incoming_id, existing_id FROM truth WHERE existing_id IS NOT NULL');
measure('titles');
forget();

$now{$_} = sprintf '%.4f', $now{$_} for keys %now;
if (my $path = $ENV{RECORD_QUALITY})
{
	# What was not measured stays as it was.
	my %all = (%recorded, %now);
	open my $out, '>', $path or die "$path: $!";
	print $out "# The matcher's quality: set, figure, value.  Made by test/record_quality, read by test/t/061_match_quality.pl.\n";
	print $out map { "$_\t$all{$_}\n" } sort keys %all;
	close $out or die "$path: $!";
	%recorded = %all;
}

for my $key (sort keys %now)
{
	my ($set, $figure) = split /\t/, $key;
	my ($value, $before) = ($now{$key}, $recorded{$key});
	if (!defined $before)
	{
		fail("$set: $figure is $value, and not recorded; test/record_quality does that");
		next;
	}
	my $worse = is_error($figure) ? $value - $before : $before - $value;
	ok($worse <= $point + 1e-9, "$set: $figure is $value, recorded are $before");
	note "$set: $figure is better than recorded; test/record_quality keeps that" if $worse < -$point;
}
cmp_ok(scalar(keys %now), '>=', 10, 'there was something to measure');

$node->stop;
done_testing();

#!/usr/bin/perl
# Runs TAP programs and adds up what they say.
#   tap.pl --log DIR [--jobs N] [--count FILE] PROGRAM...
# Perl files run under perl, anything else is executed.  The output of each goes to DIR/<name>.log; of one that fails, its end is
# printed.  The last line is "<passed> <failed> <skipped>", in FILE when one is named.  A program that dies, says less than its
# plan or ends with an exit code counts as a failure even when each of its lines says ok.
use strict;
use warnings;
use File::Basename qw(basename);
use File::Path qw(make_path);
use Getopt::Long;
use IO::Handle;
use TAP::Harness;

my ($log, $jobs, $count) = ('log', 1, undef);
GetOptions('log=s' => \$log, 'jobs=i' => \$jobs, 'count=s' => \$count) or exit 2;
make_path($log);

my %handle;
my $harness = TAP::Harness->new({
	verbosity => -3, merge => 1, jobs => $jobs,
	exec => sub {
		my ($self, $file) = @_;
		return $file =~ /\.(pl|t)$/ ? [ $^X, $file ] : [$file];
	},
});
$harness->callback(made_parser => sub {
	my ($parser, $job) = @_;
	my $name = $job->[0];
	open my $out, '>', "$log/" . basename($name) . '.log' or die "$log: $!";
	$out->autoflush(1);
	$parser->callback(ALL => sub { print $out $_[0]->raw, "\n" });
});
my $results = $harness->runtests(map { [ $_, $_ ] } @ARGV);

my ($passed, $failed, $skipped) = (0, 0, 0);
for my $name ($results->descriptions)
{
	my ($parser) = $results->parsers($name);
	my @bad = $parser->failed;
	my $skips = () = $parser->skipped;
	my @errors = $parser->parse_errors;
	my $ok = $parser->passed - $skips;

	if (!@bad && (@errors || $parser->exit || $parser->wait || (!$parser->tests_run && !$parser->skip_all)))
	{
		push @bad, 'end';
		push @errors, 'ended with exit code ' . ($parser->exit // 0) . ($parser->wait & 127 ? ' by signal ' . ($parser->wait & 127) : '')
			. ", $parser->{tests_run} tests run";
	}
	$passed += $ok;
	$failed += @bad;
	$skipped += $skips;
	printf "  %-44s %s\n", basename($name),
		@bad ? 'FAILED (' . join(', ', @bad) . ')' : $parser->skip_all ? 'skipped: ' . $parser->skip_all : "ok, $ok";
	next unless @bad;
	print "    $_\n" for @errors;
	show_end("$log/" . basename($name) . '.log', 60);
	# PostgreSQL's own test modules keep what goes to stderr, such as the reason of a die, for themselves.
	(my $bare = basename($name)) =~ s/\.\w+$//;
	show_end("$ENV{TESTLOGDIR}/regress_log_$bare", 12) if $ENV{TESTLOGDIR} && $parser->exit;
}

# Prints the last lines of a file, where there is one.
sub show_end
{
	my ($path, $count) = @_;
	open my $in, '<', $path or return;
	my @lines = <$in>;
	return unless @lines;
	chomp @lines;
	print "    the end of $path:\n", map { "    | $_\n" } @lines > $count ? @lines[ -$count .. -1 ] : @lines;
}

my $line = "$passed $failed $skipped\n";
if ($count)
{
	open my $out, '>', $count or die "$count: $!";
	print $out $line;
}
else
{
	print $line;
}
exit($failed ? 1 : 0);

#!/usr/bin/perl
# How long sync_run_etilize() takes from the call to staged changes, with an FTP server and an ERP that add no delay; what the workers
# need of memory; and what an idle system costs.
#   flow.pl FOLDER      PGHOST, PGPORT, PGUSER and PATH say which server, which must preload the library for database bench; PRODUCTS
# Half of the products are in the shop already, and the ERP knows 99 of 100.
use strict;
use warnings;
use FindBin qw($RealBin);
use lib "$RealBin/../lib";
use ProductSync::Bench;
use ProductSync::Feed;
use ProductSync::Ftpd;
use ProductSync::Xorosoft;
use Time::HiRes qw(sleep time);

my $work = shift @ARGV or die "usage: flow.pl FOLDER\n";
my $products = $ENV{PRODUCTS} || 50000;
my $ceiling = $products <= 50000 ? 30 : 600;
$| = 1;

my $zip = ProductSync::Feed::made_up(dir => $work, products => $products, catalogue => "$work/shop.sql", existing => int($products / 2));
my $ftpd = ProductSync::Ftpd->start(dir => $work);
my $xorosoft = ProductSync::Xorosoft->start(dir => $work, count => $products, known => 0.99);
make_bench();
write_secret('etilize', $ftpd->{password});
write_secret('xorosoft', $xorosoft->{secret});
ask(qq(INSERT INTO sync.connection (name, kind, base_url, username, secret_ref, settings) VALUES
	('etilize', 'etilize', '@{[ $ftpd->base_url ]}', '$ftpd->{user}', 'file:etilize', '{"settle": "100 milliseconds"}'),
	('xorosoft', 'xorosoft', '@{[ $xorosoft->base_url ]}', '$xorosoft->{key}', 'file:xorosoft', '{"requests_per_second": "100000"}')));
system('psql', '-Xq', '-o', '/dev/null', '-v', 'ON_ERROR_STOP=1', '-d', 'bench', '-f', "$work/shop.sql") == 0 or die "the catalogue could not be loaded\n";
$ftpd->put('CowanOfficeSupplies.zip', \$zip);

my $start = time;
my $run = ask('SELECT sync_run_etilize()');
while (ask("SELECT active FROM sync.run WHERE id = $run") eq 't')
{
	sample_workers();
	sleep 0.25;
}
my $state = ask("SELECT state FROM sync.run WHERE id = $run");
my $staged = ask("SELECT extract(epoch FROM max(ended_at) - min(started_at)) FROM sync.run_phase WHERE run_id = $run AND state < 'review_pending'");
print "flow: the phases of $products products, which ended in $state:\n";
print map { my ($phase, $seconds, $done, $unit, $message) = split /\|/, $_, 5; sprintf "flow:   %-20s %7.2f s  %s %s  %s\n", $phase, $seconds, $done, $unit, $message }
	split /\n/, ask("SELECT phase, round(extract(epoch FROM elapsed)::numeric, 2), done, unit, coalesce(message, last_error) FROM sync.progress WHERE run_id = $run ORDER BY phase_id");
die "the run failed\n" if $state !~ /^(manual_review|complete|review_pending)$/;
printf "flow: staged %s of %s products in %.1f s (at most %s s)\n", ask("SELECT count(*) FROM sync.staging WHERE run_id = $run"), $products, $staged, $ceiling;
my ($most, $workers) = most_memory();
printf "flow: %.0f MB is the most that one of %d workers held, without shared buffers (at most 400 MB at 1,000,000 products)\n", $most, $workers;
my $asked = $xorosoft->effects;
printf "flow: the ERP was asked %d times, up to %d at once\n", $asked->{requests}, $asked->{max_concurrency};

# Idle: once the workers have left.
for (1 .. 120)
{
	last if ask("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'product_sync worker'") == 0;
	sleep 0.5;
}
my @pids = split /\n/, ask("SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'product_sync%'");
my $switches = sub { my $n = 0; $n += proc($_, 'status', 'voluntary_ctxt_switches') for @pids; $n };
my $before = $switches->();
sleep 20;
my $rate = ($switches->() - $before) / 20 / @pids;
printf "idle: %.2f wake-ups a second and process, over 20 s of %d processes (at most 0.20)\n", $rate, scalar @pids;
my ($private) = sort { $b <=> $a } map { proc($_, 'smaps_rollup', 'Private_Dirty') + proc($_, 'smaps_rollup', 'Private_Clean') } @pids;
printf "idle: %.1f MB is the most that one of them has for itself (at most 15)\n", $private / 1024;

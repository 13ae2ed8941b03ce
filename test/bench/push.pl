#!/usr/bin/perl
# How long it takes to send 10,000 changes of stock and 2,000 of prices to a shop with Shopify's standard bucket (2,000 points, 100 a second), beside
# the time that the bucket allows for the points that this took: by the cheapest plan, without bulk mutations, and with another client that
# takes half of the bucket.
#   push.pl FOLDER      PGHOST, PGPORT, PGUSER and PATH say which server, which must preload the library for database bench; PUSH_STOCK, PUSH_PRICES
# The double answers at once: what is over the bucket's time is ours.  Where the bucket allows all at once, there is no ratio.
use strict;
use warnings;
use FindBin qw($RealBin);
use lib "$RealBin/../lib";
use JSON::PP;
use List::Util qw(max sum);
use ProductSync::Bench;
use ProductSync::Shopify;
use Time::HiRes qw(sleep time);

my $work = shift @ARGV or die "usage: push.pl FOLDER\n";
my $stock = $ENV{PUSH_STOCK} || 10000;
my $prices = $ENV{PUSH_PRICES} || 2000;
$| = 1;

sub run
{
	my ($call) = @_;
	my $run = ask("SELECT $call");
	sleep 0.05 while ask("SELECT active OR EXISTS (SELECT FROM sync.job j WHERE j.run_id = r.id) FROM sync.run r WHERE id = $run") eq 't';
	my $state = ask("SELECT concat_ws(' ', state, message, last_error) FROM sync.run WHERE id = $run");
	die "run $run ended in $state\n" if $state !~ /^(manual_review|complete)/;
	return $run;
}

my $shop = ProductSync::Shopify->start(dir => $work, products => $stock, variants => 1, throttle => JSON::PP::false());
make_bench();
connect_shop($shop, max_change_share => '1', push_after_changes => 'false');
run("sync_run_shopify_down('full')");
# The planner's and the caches' first time are not what is measured.
run('sync_run_shopify_up()');

# Changes so many levels and prices, and sends them; the double's clock of the bucket starts when the first call comes.
sub measure
{
	my ($name, $levels, $n, %option) = @_;
	ask("UPDATE sync.connection SET settings = settings || '{\"push_bulk_above\": \"@{[ $option{bulk} // 300 ]}\"}'");
	ask("UPDATE sync.stock_level SET local = base + 1 WHERE id IN (SELECT min(id) FROM sync.stock_level GROUP BY variant_id ORDER BY 1 LIMIT $levels)");
	ask("UPDATE sync.variant SET price = price + 0.01 WHERE id IN (SELECT variant_id FROM sync.listing ORDER BY variant_id LIMIT $n)");
	# Staged first, so that the plan can be asked for; sending begins with the approval.
	ask("UPDATE sync.connection SET settings = settings || '{\"push_approve\": \"\"}'");
	my $run = run('sync_run_shopify_up()');
	ask("UPDATE sync.connection SET settings = settings - 'push_approve'");
	print map { sprintf "push: %s: plan: %s %s: %s products, %s items, %s calls, %s points, %s\n", $name, split /\|/ } split /\n/,
		ask("SELECT part, method, products, items, calls, points, expected FROM sync_plan_shopify_up($run)");
	$shop->control(throttle => JSON::PP::true(), fill_bucket => JSON::PP::true(), ($option{other} ? (other_client_rate => $option{other}) : ()));
	ask("UPDATE sync.rate_limit SET points_available = NULL, points_at = NULL");
	my $before = $shop->effects;
	my $start = time;
	ask("SELECT sync_approve_where('{\"run_id\": $run}', 'bench', dry_run => false)");
	my $approved = time;
	sleep 0.02 while ask("SELECT EXISTS (SELECT FROM sync.staging WHERE run_id = $run AND state::text IN ('open', 'sending'))") eq 't';
	my $seconds = time - $start;
	my $after = $shop->effects;
	$shop->control(throttle => JSON::PP::false(), ($option{other} ? (other_client_rate => 0) : ()));
	my $points = $after->{points} - $before->{points};
	my $calls = $after->{graphql} - $before->{graphql};
	my $items = $levels + $n;
	my $rate = 100 - ($option{other} // 0);
	my $allowed = max(0, $points - 2000) / $rate;
	printf "push: %s: %d items in %.1f s (approving %.1f s), %d calls, %d points, %d throttled\n", $name, $items, $seconds, $approved - $start, $calls, $points, $after->{throttled} - $before->{throttled};
	die "not all is there: " . ask("SELECT string_agg(DISTINCT error, '; ') FROM sync.staging WHERE run_id = $run AND state <> 'applied'") . "\n"
		if ask("SELECT count(*) FROM sync.staging WHERE run_id = $run AND state <> 'applied'") ne '0';
	if ($allowed > 20) { figure("push", "times the $allowed s that the bucket allows, $name", $seconds / $allowed, '', 1.05, 3) }
	else { printf "push: %s: the bucket would allow %.1f s\n", $name, $allowed }
	my ($first) = map { $_->{second} } grep { $_->{second} >= ($before->{seconds}[-1]{second} // 0) && $_->{points} } @{ $after->{seconds} };
	my @throttled = grep { $_->{throttled} && $_->{second} >= ($first // 0) } @{ $after->{seconds} };
	printf "push: %s: THROTTLED in second %d\n", $name, $_->{second} - $first for @throttled;
	figure("push", "THROTTLED answers after the first second, $name", sum(0, map { $_->{throttled} } grep { $_->{second} > $first + 1 } @throttled), '', $option{throttled} // 0, 0);
	figure("push", "calls a changed item, $name", $calls / $items, '', $option{calls} // 0.05, 3);
}

measure('cheapest plan', $stock, $prices);
# The reading before and the mutation of each product: what takes time then is the bucket.
measure('without bulk', $stock, $prices, bulk => 1000000);
measure('beside another client', $stock, $prices, bulk => 1000000, other => 50);
exit(missed() ? 1 : 0);

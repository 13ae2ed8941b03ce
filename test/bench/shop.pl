#!/usr/bin/perl
# How long sync_run_shopify_down() takes with a shop that adds no delay: a first load into an empty catalogue, the same shop once more, a
# first load beside a catalogue that has the same products already, and a thousand changes.
#   shop.pl FOLDER      PGHOST, PGPORT, PGUSER and PATH say which server, which must preload the library for database bench; SHOP_PRODUCTS
# The yardstick is COPY of the same lines, as the shop gives them, into a table of one jsonb column.  The Shopify double makes its result
# on the same machine, within these times.
use strict;
use warnings;
use FindBin qw($RealBin);
use lib "$RealBin/../lib";
use HTTP::Tiny;
use ProductSync::Bench;
use ProductSync::Shopify;
use Time::HiRes qw(sleep time);

my $work = shift @ARGV or die "usage: shop.pl FOLDER\n";
my $products = $ENV{SHOP_PRODUCTS} || 100000;
my $changes = 1000;
$| = 1;

# Runs a reading to its end; returns the seconds from the call on.
sub reading
{
	my ($mode, $name) = @_;
	my $start = time;
	my $run = ask("SELECT sync_run_shopify_down('$mode')");
	while (ask("SELECT active FROM sync.run WHERE id = $run") eq 't')
	{
		sample_workers();
		sleep 0.1;
	}
	my $seconds = time - $start;
	my ($state, $error) = split /\|/, ask("SELECT state, last_error FROM sync.run WHERE id = $run"), 2;
	print "shop: $name: run $run ended in $state $error\n";
	print map { my ($phase, $took, $done, $message) = split /\|/, $_, 4; sprintf "shop:   %-18s %7.2f s  %s  %s\n", $phase, $took, $done, $message }
		split /\n/, ask("SELECT phase, round(extract(epoch FROM elapsed)::numeric, 2), done, coalesce(message, last_error) FROM sync.progress WHERE run_id = $run ORDER BY phase_id");
	die "the run failed\n" if $state !~ /^(manual_review|complete)$/;
	return $seconds;
}

my $shop = ProductSync::Shopify->start(dir => $work, products => $products, variants => 2, throttle => JSON::PP::false());
make_bench();
connect_shop($shop, max_change_share => '1', oscillation_window => '0');

# The yardstick.
my $bulk = $shop->graphql('mutation($query: String!) { bulkOperationRunQuery(query: $query) { bulkOperation { id } userErrors { message } } }', { query =>
	'{ products { edges { node { id handle title descriptionHtml vendor productType tags status updatedAt seo { title description }'
	. ' variants { edges { node { id sku barcode price compareAtPrice position inventoryPolicy selectedOptions { name value }'
	. ' inventoryItem { id tracked unitCost { amount currencyCode } measurement { weight { unit value } }'
	. ' inventoryLevels { edges { node { id location { id } quantities(names: ["available"]) { name quantity updatedAt } } } } } } } } } } } }' });
my $id = $bulk->{data}{bulkOperationRunQuery}{bulkOperation}{id} or die JSON::PP->new->encode($bulk);
my $operation;
do { sleep 0.2; $operation = $shop->graphql('query($id: ID!) { bulkOperation(id: $id) { status url fileSize } }', { id => $id })->{data}{bulkOperation} } until $operation->{status} =~ /COMPLETED|FAILED/;
my $start = time;
my $got = HTTP::Tiny->new(timeout => 300)->mirror($operation->{url}, "$work/lines.jsonl");
my $fetched = time - $start;
$start = time;
ask("CREATE TABLE lines (line jsonb)");
system('psql', '-Xq', '-d', 'bench', '-c', "\\copy lines FROM '$work/lines.jsonl' WITH (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02')") == 0 or die "COPY failed\n";
printf "shop: yardstick: COPY of the same %s lines (%.0f MB) takes %.1f s, the download alone %.1f s\n", ask('SELECT count(*) FROM lines'), (-s "$work/lines.jsonl") / 1e6, time - $start, $fetched;
ask('DROP TABLE lines');
unlink "$work/lines.jsonl";

figure('shop', "for a full load of $products products of two variants into an empty catalogue", reading('full', 'first load'), 's', 60);
die "the catalogue has not all of them\n" if ask('SELECT count(*) FROM sync.product') != $products || ask('SELECT count(*) FROM sync.listing') != 2 * $products;
printf "shop: %.1f s for the same once more, nothing changed\n", reading('full', 'the same once more');

my @edits = map { { product => "gid", set => { title => "Changed $_" } } } 1 .. $changes;
my @remotes = split /\n/, ask("SELECT remote_id FROM sync.product_listing ORDER BY remote_id LIMIT $changes");
$edits[$_]{product} = $remotes[$_] for 0 .. $#remotes;
sleep 1;
$shop->edit(@edits);
figure('shop', "for a delta of $changes changes", reading('delta', 'delta'), 's', 5);
die "not all changes arrived\n" if ask("SELECT count(*) FROM sync.product WHERE title LIKE 'Changed %'") != @remotes;

# The catalogue stays, all that is known of the shop goes.
ask('TRUNCATE sync.shopify_product, sync.shopify_stock, sync.product_listing, sync.listing, sync.stock_level, sync.shopify_crawl CASCADE');
printf "shop: %.1f s for a first load beside a catalogue of the same products\n", reading('full', 'linking');
die "not all were linked\n" if ask('SELECT count(*) FROM sync.product_listing') != $products;
die "products were doubled\n" if ask('SELECT count(*) FROM sync.product') != $products;

my ($most) = most_memory();
figure('shop', 'is the most that a worker held, without shared buffers', $most, 'MB', 200);
exit(missed() ? 1 : 0);

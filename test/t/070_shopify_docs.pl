# docs/shopify.md, followed word for word by somebody who has just installed the extension: each command works, in the order of the page.
use strict;
use warnings;
use FindBin qw($RealBin);
use PostgreSQL::Test::Utils;
use Test::More;
use ProductSync::Cluster;
use ProductSync::Shopify;

my $node = ProductSync::Cluster->start_new('main');
my $shop = ProductSync::Shopify->start(products => 10, client_id => 'the client id', client_secret => 'the client secret');
my $docs = slurp_file("$RealBin/../../docs/shopify.md");

# The shell's lines, for this server's folder and user.
for my $line ($docs =~ /^    # (install .*)$/mg)
{
	my $data = $node->data_dir;
	$line =~ s/-o postgres -g postgres //;
	$line =~ s{/var/lib/postgresql/15/main}{$data};
	is(system('bash', '-c', $line), 0, "it works: $line");
}

my @sql = grep { !/^#/ } $docs =~ /^    (\S.*(?:\n    \S.*)*)$/mg;
cmp_ok(scalar @sql, '>', 4, 'there are examples');
for my $block (@sql)
{
	my $base = $shop->base_url;
	$block =~ s/^ +//mg;
	$block =~ s{https://your-shop\.myshopify\.com/}{$base};
	my ($ret, $out, $err) = $node->psql('postgres', $block, on_error_stop => 1, timeout => 120);
	is($ret, 0, "it works: $block") or diag($err);
	is($node->value('SELECT count(*) FROM sync.product') . ' ' . $node->value('SELECT state FROM sync.run'), '10 complete', 'the shop is here, as the page says') if $block =~ /sync_wait/;
}

# In one statement it cannot work; that is said at once, and not after an hour.
my ($ret, $out, $err) = $node->psql('postgres', "SELECT sync_wait(sync_run_shopify_down('delta', 'shop'))");
like($err, qr/was started in this transaction, so no worker sees it yet/, 'waiting for what nobody can see is refused');
$node->stop;
done_testing();

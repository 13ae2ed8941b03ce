# The test's own parts do what the other tests rely on: a double that does not answer, or a fault that is not injected, would make
# tests pass that should not.
use strict;
use warnings;
use HTTP::Tiny;
use JSON::PP;
use MIME::Base64;
use PostgreSQL::Test::Utils;
use Test::More;
use ProductSync::Feed;
use ProductSync::Ftpd;
use ProductSync::Proxy;
use ProductSync::Xorosoft;

my $ftpd = ProductSync::Ftpd->start;
my $proxy = ProductSync::Proxy->start(target => $ftpd, ftp => 1);
my $content = join '', map { chr(33 + ($_ * 7919) % 90) } 1 .. 2_000_000;
my $out = "$ENV{TESTDATADIR}/fetched";

# curl's exit code and the number of bytes that it got.
sub fetch
{
	my ($port, @more) = @_;
	unlink $out;
	system('curl', '-s', '-u', "$ftpd->{user}:$ftpd->{password}", '-m', '20', '-o', $out, @more, "ftp://127.0.0.1:$port/a.zip");
	return ($? >> 8) . ' ' . (-s $out // 0);
}

$ftpd->put('a.zip', $content);
is(fetch($ftpd->port), '0 2000000', 'the FTP server gives the file');
is(fetch($ftpd->port, '--ssl-reqd', '--cacert', $ftpd->certificate), '0 2000000', 'and under explicit TLS');
is(fetch($ftpd->port, '-u', 'feed:wrong'), '67 0', 'and not with a wrong password');
is(fetch($proxy->port), '0 2000000', 'the proxy passes on, with EPSV');
is(fetch($proxy->port, '--disable-epsv'), '0 2000000', 'and with PASV');
$proxy->control(scope => 'data', reset_after => 500_000, times => 1);
like(fetch($proxy->port), qr/^56 [1-5]\d{5}$/, 'a reset comes after the number of bytes that was asked for');
is(fetch($proxy->port), '0 2000000', 'and only as often');
$proxy->heal;
$proxy->control(refuse => 1);
is(fetch($proxy->port), '7 0', 'a proxy that refuses');
$proxy->control(refuse => 0);
	is($proxy->effects->{broken}, 1, 'it counts what it broke');

my $x = ProductSync::Xorosoft->start(count => 250, known => 1);
my $http = HTTP::Tiny->new(default_headers => { Authorization => 'Basic ' . MIME::Base64::encode_base64('key:secret', '') }, timeout => 20);
my $get = sub { return $http->get($x->base_url . $_[0]) };
my $page = JSON::PP::decode_json($get->('product/item/getitem?page=3')->{content});
is(scalar @{ $page->{Data} }, 50, 'the last page holds the rest');
is($page->{TotalPages}, 3, 'three pages');
cmp_ok(scalar keys %{ $page->{Data}[0] }, '>', 200, 'an item is as wide as a real one');
is(HTTP::Tiny->new->get($x->base_url . 'item/getitem')->{status}, 401, 'no access without a key');
is($get->('item/getsomething')->{status}, 500, 'an unknown action is error 500, as there');
$x->control(empty_pages => [2]);
$page = JSON::PP::decode_json($get->('item/getitem?page=2')->{content});
is(scalar @{ $page->{Data} }, 0, 'a page that comes empty');
$page = JSON::PP::decode_json($get->('item/getitem?page=2')->{content});
is(scalar @{ $page->{Data} }, 100, 'and right the second time');
$x->control(rate => 2, rate_mode => '429');
is(scalar(grep { $get->('item/getitem?item_number=CWS-100001')->{status} == 429 } 1 .. 5), 3, 'more than the rate is refused');

my $manifest = "$ENV{TESTDATADIR}/manifest";
my $csv = ProductSync::Feed::made_up(csv => 1, products => 100, broken => 10, manifest => $manifest);
my @broken = split /\n/, slurp_file($manifest);
is(scalar @broken, 10, 'the manifest names each broken record');
my @lines = split /\n/, slurp_file($csv);
like($lines[ (split /\t/, $broken[1])[0] - 1 ], qr/^"[^"]*,/, 'and its line');
is(slurp_file(ProductSync::Feed::made_up(products => 50, csv => 1)), slurp_file(ProductSync::Feed::made_up(products => 50, csv => 1)),
	'the same options give the same feed');

done_testing();

# The Shopify double (test/doubles/shopify.js) of a test.
#   my $shop = ProductSync::Shopify->start(products => 1000);
#   $shop->edit({ product => 'CWS-100001', set => { title => 'New' } });   $shop->control(throttle_next => 2);
#   my $answer = $shop->graphql('query { shop { name } }');   is($answer->{data}{shop}{name}, 'Test Shop');
#   $shop->blameless;      # fails the test when a query was none of Shopify's
package ProductSync::Shopify;
use strict;
use warnings;
use parent 'ProductSync::Server';
use Carp;
use HTTP::Tiny;
use JSON::PP;
use Test::More ();

my $number = 0;

# Options are those of test/doubles/shopify/options.js; `dir` is where its output goes.
sub start
{
	my ($class, %option) = @_;
	my $dir = delete $option{dir} // $ENV{TESTDATADIR} // '/tmp';
	my $self = bless { name => 'shopify', log => "$dir/shopify-$$-" . ++$number . '.log' }, $class;
	$self->{token} = $option{token} // 'shpat_test';
	$self->{client_id} = $option{client_id} // 'client';
	$self->{client_secret} = $option{client_secret} // 'hush';
	$self->spawn('node', '--max-old-space-size=3072', "$ProductSync::Server::top/test/doubles/shopify.js",
		map { ("--$_", ref $option{$_} ? JSON::PP->new->utf8->encode($option{$_}) : $option{$_}) } sort keys %option);
	$self->{port} = $self->await('port', sub { $self->output =~ /"port":(\d+)/ && $1 }, 60);
	return $self;
}

sub base_url { "http://127.0.0.1:$_[0]{port}/" }
sub token { $_[0]{token} }
sub effects { $_[0]->ask('/_effects') }
# What changed: writes(by => 'app', mutation => 'productUpdate', product => 7, bulk => .., key => .., since => 41), all without.
sub writes
{
	my ($self, %which) = @_;
	my $query = join '&', map { "$_=" . $which{$_} =~ s/([^\w.-])/sprintf '%%%02X', ord $1/ger } sort keys %which;
	return $self->ask("/_effects?$query")->{writes};
}
sub log { $_[0]->ask('/_log') }
sub control { my ($self, %option) = @_; $self->ask('/_control', \%option) }
sub reset { my ($self, %what) = @_; $self->ask('/_reset', \%what) }
sub locations { $_[0]->ask('/_locations') }

# Products: seed(products => 1000, variants => 2, seed => 1) makes them, seed({title => .., variants => [..]}, ..) takes them as they are.
sub seed { my ($self, @what) = @_; $self->ask('/_seed', ref $what[0] ? { products => \@what } : {@what}) }

# Changes that the merchant (or `by`) makes: see edit() in test/doubles/shopify/merchant.js.
sub edit { my ($self, @changes) = @_; my $done = $self->ask('/_edit', \@changes); return @changes == 1 ? $done->[0] : $done }

# The shop's products in short: all, or those with the numbers.
sub products { my ($self, @ids) = @_; $self->ask('/_products' . (@ids ? '?id=' . join(',', @ids) : '')) }
sub product { my ($self, $id) = @_; $self->products($id)->[0] }

# Takes pending webhooks: a list of { topic, headers, body }, body as the bytes that are signed; options as in take() of
# test/doubles/shopify/webhooks.js.
sub webhooks
{
	my ($self, %how) = @_;
	my @taken = @{ $self->ask('/_webhooks', \%how) };
	utf8::encode($_->{body}) for @taken;
	return @taken;
}

# One GraphQL request; returns the decoded body, with the HTTP status and headers under _status and _headers.
sub graphql
{
	my ($self, $query, $variables, %option) = @_;
	my $json = JSON::PP->new->utf8->allow_nonref;
	my $version = $option{version} // '2026-10';
	my $answer = HTTP::Tiny->new(timeout => 60)->post($self->base_url . "admin/api/$version/graphql.json", {
		headers => { 'Content-Type' => 'application/json', 'X-Shopify-Access-Token' => $option{token} // $self->{token},
			%{ $option{headers} // {} } },
		content => $json->encode({ query => $query, variables => $variables // {} }) });
	my $body = eval { $json->decode($answer->{content}) } // { _text => $answer->{content} };
	return { %$body, _status => $answer->{status}, _headers => $answer->{headers} };
}

# Tests that no query was refused by the schema or by Shopify's rules, and none asked for what the double does not know.
sub blameless
{
	my ($self, $name) = @_;
	my $effects = $self->effects;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	Test::More::is(JSON::PP->new->canonical->pretty->encode([ @{ $effects->{rejected} }, @{ $effects->{unknown} } ]), "[]\n",
		$name // 'Shopify understands every query');
}

1;

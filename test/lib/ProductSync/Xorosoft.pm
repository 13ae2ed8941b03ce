# The Xorosoft double (test/doubles/xorosoft.js) of a test.
#   my $x = ProductSync::Xorosoft->start(dir => $folder, count => 1000, known => 0.8);
#   $x->control(latency_ms => 500);   $x->effects->{requests};   $x->base_url
package ProductSync::Xorosoft;
use strict;
use warnings;
use parent 'ProductSync::Server';
use JSON::PP;

my $number = 0;

# Options are those of xorosoft.js; `dir` is where its output goes.
sub start
{
	my ($class, %option) = @_;
	my $dir = delete $option{dir} // $ENV{TESTDATADIR} // '/tmp';
	my $self = bless { name => 'xorosoft', log => "$dir/xorosoft-$$-" . ++$number . '.log' }, $class;
	$self->{key} = $option{key} // 'key';
	$self->{secret} = $option{secret} // 'secret';
	$self->spawn('node', '--max-old-space-size=4096', "$ProductSync::Server::top/test/doubles/xorosoft.js",
		map { ("--$_", ref $option{$_} ? encode_json($option{$_}) : $option{$_}) } sort keys %option);
	$self->{port} = $self->await('port', sub { $self->output =~ /"port":(\d+)/ && $1 }, 60);
	return $self;
}

sub base_url { "http://127.0.0.1:$_[0]{port}/api/xerp/" }
sub effects { $_[0]->ask('/_effects') }
sub log { $_[0]->ask('/_log') }
sub control { my ($self, %option) = @_; $self->ask('/_control', \%option) }
sub put { my ($self, @items) = @_; $self->ask('/_items', \@items) }
sub reset { $_[0]->ask('/_reset', {}) }

1;

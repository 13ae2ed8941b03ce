# The fault proxy (test/doubles/proxy.js) of a test.
#   my $p = ProductSync::Proxy->start(target => $ftpd, ftp => 1);
#   $p->control(scope => 'data', reset_after => 100000, times => 2);   $p->effects->{broken}
package ProductSync::Proxy;
use strict;
use warnings;
use parent 'ProductSync::Server';

my $number = 0;

# `target` is a ProductSync::Server, or "host:port"; the other options are those of proxy.js.
sub start
{
	my ($class, %option) = @_;
	my $dir = delete $option{dir} // $ENV{TESTDATADIR} // '/tmp';
	my $self = bless { name => 'proxy', log => "$dir/proxy-$$-" . ++$number . '.log' }, $class;
	$option{target} = '127.0.0.1:' . $option{target}->port if ref $option{target};
	$option{ftp} = $option{ftp} ? 'true' : 'false';
	$self->spawn('node', "$ProductSync::Server::top/test/doubles/proxy.js", map { ("--$_", $option{$_}) } sort keys %option);
	$self->await('port', sub { $self->output =~ /"port":(\d+),"control":(\d+)/ && (@$self{qw(port control)} = ($1, $2)) });
	return $self;
}

sub effects { $_[0]->ask('/_effects') }
sub reset { $_[0]->ask('/_reset', {}) }
sub cut { $_[0]->ask('/_cut', {}) }

sub control
{
	my ($self, %option) = @_;
	for my $name (qw(ftp drop_answer garbage refuse))
	{
		$option{$name} = $option{$name} ? JSON::PP::true() : JSON::PP::false() if exists $option{$name};
	}
	return $self->ask('/_control', \%option);
}

# Back to a proxy that only passes on.
sub heal
{
	my ($self) = @_;
	return $self->control(scope => 'all', times => -1, latency_ms => 0, bytes_per_second => 0, stall_after => -1, cut_after => -1,
		reset_after => -1, drop_answer => 0, garbage => 0, refuse => 0);
}

1;

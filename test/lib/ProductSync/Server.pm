# A helper program of a test: started on a free port of its own, known by its process id, and stopped by that id at the end of the
# script that started it, however that ends.  ProductSync::Ftpd, ::Xorosoft and ::Proxy are such programs.
package ProductSync::Server;
use strict;
use warnings;
use Carp;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use HTTP::Tiny;
use IO::Socket::INET;
use JSON::PP;
use POSIX qw(WNOHANG);
use Time::HiRes qw(sleep time);

our $top = abs_path(dirname(__FILE__) . '/../../..');
my %running;    # process id -> object
my $owner = $$;

# Starts a program; returns at once.  $self->{log} gets what it prints.
sub spawn
{
	my ($self, @command) = @_;
	my $pid = fork() // croak "could not fork: $!";
	if ($pid == 0)
	{
		setpgrp;
		open STDIN, '<', '/dev/null';
		open STDOUT, '>', $self->{log} or POSIX::_exit(126);
		open STDERR, '>&', \*STDOUT;
		# Should this script be killed, the program ends too.
		{ no warnings 'exec'; exec 'setpriv', '--pdeathsig', 'TERM', '--', @command; }
		POSIX::_exit(127);
	}
	$self->{pid} = $pid;
	$running{$pid} = $self;
	return $pid;
}

# What the program has printed so far.
sub output
{
	my ($self) = @_;
	open my $in, '<', $self->{log} or return '';
	local $/;
	return scalar(<$in>) // '';
}

# Waits until the condition gives something true and returns that; dies with the program's output when it ends or takes too long.
sub await
{
	my ($self, $what, $condition, $seconds) = @_;
	my $end = time + ($seconds // 30);
	while (time < $end)
	{
		my $value = $condition->();
		return $value if $value;
		if ($self->{pid} && waitpid($self->{pid}, WNOHANG) == $self->{pid})
		{
			delete $running{ delete $self->{pid} };
			croak "$self->{name} ended before $what: " . $self->output;
		}
		sleep 0.02;
	}
	croak "$self->{name}: no $what in time: " . $self->output;
}

sub pid { $_[0]{pid} }
sub port { $_[0]{port} }

# Stops the program by its process id and waits for its end.
sub stop
{
	my ($self) = @_;
	my $pid = delete $self->{pid} or return;
	delete $running{$pid};
	kill 'TERM', -$pid, $pid;
	for (1 .. 250)
	{
		return if waitpid($pid, WNOHANG) != 0;
		sleep 0.02;
	}
	kill 'KILL', -$pid, $pid;
	waitpid $pid, 0;
}

sub free_port
{
	my $socket = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', LocalPort => 0) or croak "no free port: $!";
	return $socket->sockport;
}

# One request to a program's control port: a GET, or a POST of $body as JSON.  Returns the decoded answer.
sub ask
{
	my ($self, $path, $body) = @_;
	my $url = 'http://127.0.0.1:' . ($self->{control} // $self->{port}) . $path;
	my $http = HTTP::Tiny->new(timeout => 20);
	my $answer = defined $body
		? $http->post($url, { content => JSON::PP->new->utf8->allow_nonref->encode($body) })
		: $http->get($url);
	croak "$self->{name}: $path: $answer->{status} $answer->{content}" unless $answer->{success};
	return decode_json($answer->{content});
}

END
{
	my $status = $?;
	if ($$ == $owner) { $_->stop for values %running }
	$? = $status;
}

1;

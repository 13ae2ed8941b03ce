# A psql that stays open, for tests that ask thousands of times.
#   my $session = ProductSync::Session->new($node->connstr('postgres'));   $session->ask('SELECT 1')
package ProductSync::Session;
use strict;
use warnings;
use Carp;
use IPC::Run;

sub new
{
	my ($class, $connstr) = @_;
	my $self = bless { in => '', out => '', err => '', number => 0, connstr => $connstr }, $class;
	$self->{psql} = IPC::Run::start([ 'psql', '-X', '-q', '-A', '-t', '-d', $connstr ], '<', \$self->{in}, '>', \$self->{out}, '2>', \$self->{err});
	return $self;
}

# What the statements printed; dies with the server's message when one of them fails.
sub ask
{
	my ($self, $sql) = @_;
	my $mark = 'done-' . ++$self->{number};
	$self->{in} .= "$sql\n;\n\\echo $mark\n\\warn $mark\n";
	$self->{psql}->pump until ($self->{out} =~ /^$mark$/m && $self->{err} =~ /^$mark$/m) || !$self->{psql}->pumpable;
	my ($out, $err) = @$self{qw(out err)};
	@$self{qw(out err)} = ('', '');
	croak "$err\nin: " . substr($sql, 0, 2000) if $err =~ /^(ERROR|FATAL|PANIC|psql: error)/m || $err !~ /^$mark$/m;
	$out =~ s/\n?$mark\n\z//;
	return $out;
}

sub finish { my ($self) = @_; $self->{in} .= "\\q\n"; eval { $self->{psql}->finish } }

1;

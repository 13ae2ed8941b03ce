# A real FTP server, Debian's proftpd, of a test: one account, a folder of files, plain FTP and explicit TLS, as the present user.
#   my $ftpd = ProductSync::Ftpd->start(dir => $folder);
#   $ftpd->put('CowanOfficeSupplies.zip', $bytes);    $ftpd->base_url
package ProductSync::Ftpd;
use strict;
use warnings;
use parent 'ProductSync::Server';
use Carp;
use File::Copy qw(copy);
use File::Path qw(make_path);

my $number = 0;

# Options: dir (for its files), user, password, tls ('optional' or 'required').
sub start
{
	my ($class, %option) = @_;
	my $dir = ($option{dir} // $ENV{TESTDATADIR} // '/tmp') . "/ftpd-$$-" . ++$number;
	my $self = bless { name => 'ftpd', log => "$dir/output.log", dir => $dir, files => "$dir/files" }, $class;
	my $root = ($ENV{PRODUCT_SYNC_CACHE} // '/var/cache/product_sync') . '/ftpd';

	$self->{user} = $option{user} // 'feed';
	$self->{password} = $option{password} // 'feed-password';
	$self->{tls} = $option{tls} // 'optional';
	croak "no FTP server in $root; run test/env/install.sh" unless -x "$root/usr/sbin/proftpd";
	croak 'the FTP server does not run as root here' if $> == 0;
	make_path($self->{files});
	$self->make_certificate;
	my $hash = crypt($self->{password}, '$6$product.sync$');
	my ($uid, $gid) = ($>, (split ' ', $))[0]);
	write_private("$dir/passwd", "$self->{user}:$hash:$uid:$gid\::$self->{files}:/bin/sh\n");

	# Another process may take the port before proftpd does: then once more.
	for my $try (1 .. 5)
	{
		$self->{port} = ProductSync::Server::free_port();
		write_private("$dir/proftpd.conf", $self->configuration($root));
		$self->spawn("$root/usr/sbin/proftpd", '-n', '-q', '-c', "$dir/proftpd.conf");
		last if eval { $self->await('greeting', sub { $self->greets }, 20) };
		croak $@ if $try == 5 || $@ !~ /in use/;
		$self->stop;
	}
	return $self;
}

sub configuration
{
	my ($self, $root) = @_;
	my $dir = $self->{dir};
	my $user = getpwuid($>) // $>;
	my $group = getgrgid((split ' ', $))[0]) // (split ' ', $))[0];
	my $required = $self->{tls} eq 'required' ? 'on' : 'off';
	return <<"END";
ServerName "product_sync test"
ServerType standalone
ModulePath $root/usr/lib/proftpd
LoadModule mod_tls.c
ControlsEngine off
Port $self->{port}
DefaultAddress 127.0.0.1
UseIPv6 off
UseReverseDNS off
User $user
Group $group
PidFile $dir/pid
ScoreboardFile $dir/scoreboard
DelayTable none
SystemLog $dir/system.log
TransferLog $dir/transfer.log
WtmpLog off
AuthOrder mod_auth_file.c
AuthPAM off
AuthUserFile $dir/passwd
RequireValidShell off
DefaultChdir $self->{files}
AllowRetrieveRestart on
MaxInstances 500
TimesGMT on
TLSEngine on
TLSLog $dir/tls.log
TLSRSACertificateFile $dir/cert.pem
TLSRSACertificateKeyFile $dir/key.pem
TLSRequired $required
TLSVerifyClient off
END
}

sub make_certificate
{
	my ($self) = @_;
	system("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=localhost "
		. "-addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout '$self->{dir}/key.pem' -out '$self->{dir}/cert.pem' 2>/dev/null") == 0
		or croak 'openssl could not make a certificate';
	chmod 0600, "$self->{dir}/key.pem";
}

sub write_private
{
	my ($path, $text) = @_;
	open my $out, '>', $path or croak "$path: $!";
	chmod 0600, $path;
	print $out $text;
	close $out or croak "$path: $!";
}

sub greets
{
	my ($self) = @_;
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port}, Timeout => 2) or return 0;
	my $line = <$socket> // '';
	return $line =~ /^220 /;
}

sub base_url { "ftp://127.0.0.1:$_[0]{port}/" }
sub certificate { "$_[0]{dir}/cert.pem" }

# Puts a file up, all at once: $content is bytes, or \"path of a file".  $mtime is its time, else now.
sub put
{
	my ($self, $name, $content, $mtime) = @_;
	my $path = "$self->{files}/$name";
	if (ref $content)
	{
		copy($$content, "$path.part") or croak "$$content: $!";
	}
	else
	{
		open my $out, '>:raw', "$path.part" or croak "$path: $!";
		print $out $content;
		close $out or croak "$path: $!";
	}
	utime $mtime, $mtime, "$path.part" if defined $mtime;
	rename "$path.part", $path or croak "$path: $!";
}

# Adds bytes to a file, as a supplier does who writes while we look.
sub append
{
	my ($self, $name, $content) = @_;
	open my $out, '>>:raw', "$self->{files}/$name" or croak "$name: $!";
	print $out $content;
	close $out or croak "$name: $!";
}

sub remove { my ($self, $name) = @_; unlink "$self->{files}/$name" or croak "$name: $!" }

# Lines "bytes name" of the completed and broken transfers.
sub transfers
{
	my ($self) = @_;
	open my $in, '<', "$self->{dir}/transfer.log" or return;
	return map { my @f = split; { bytes => $f[7], name => $f[8], complete => $f[-1] eq 'c' } } <$in>;
}

1;

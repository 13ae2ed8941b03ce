# What the benches in test/bench share: database bench with the extension in it, its connections, figures beside their ceilings, and the
# memory that workers hold.  PGHOST, PGPORT, PGUSER and PATH say which server, which must preload the library for database bench.
package ProductSync::Bench;
use strict;
use warnings;
use Exporter 'import';
use JSON::PP;
use ProductSync::Ftpd;

our @EXPORT = qw(ask make_bench write_secret connect_shop figure missed proc sample_workers most_memory);

my $missed = 0;
my %peak;

# What one statement gives.
sub ask
{
	my ($sql) = @_;
	open my $pipe, '-|', 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', 'bench', '-c', $sql or die "psql: $!";
	my $answer = join '', <$pipe>;
	close $pipe or die "failed: $sql\n";
	chomp $answer;
	return $answer;
}

sub make_bench
{
	system('createdb', '-E', 'UTF8', '-T', 'template0', 'bench') == 0 or die "createdb failed\n";
	ask('CREATE EXTENSION product_sync');
	ask('SELECT sync_install()');
	system('mkdir', '-p', ask('SHOW data_directory') . '/product_sync/secrets') == 0 or die "no folder for secrets\n";
	chmod 0700, ask('SHOW data_directory') . '/product_sync/secrets';
}

sub write_secret
{
	my ($name, $secret) = @_;
	ProductSync::Ftpd::write_private(ask('SHOW data_directory') . "/product_sync/secrets/$name", $secret);
}

# Connection "shop" to a double, with these settings.
sub connect_shop
{
	my ($shop, %settings) = @_;
	write_secret('shop', $shop->token);
	ask(sprintf "INSERT INTO sync.connection (name, kind, base_url, secret_ref, settings) VALUES ('shop', 'shopify', '%s', 'file:shop', '%s')",
		$shop->base_url, encode_json(\%settings));
}

# A figure beside its ceiling, to so many digits.
sub figure
{
	my ($bench, $what, $value, $unit, $most, $digits) = @_;
	my $good = $value <= $most;
	$missed++ unless $good;
	printf "%s: %-6s %.*f %s (at most %s)\n", $bench, $good ? 'ok' : 'MISSED', $digits // 1, $value, join(' ', grep { $_ ne '' } $unit, $what), $most;
}

# How many figures did not reach their bar.
sub missed { return $missed }

# kB of a line of /proc/PID/FILE, summed over the lines of that name; 0 when the process is gone.
sub proc
{
	my ($pid, $file, $key) = @_;
	open my $in, '<', "/proc/$pid/$file" or return 0;
	my $sum = 0;
	while (my $line = <$in>) { $sum += $1 if $line =~ /^$key:\s+(\d+)/ }
	return $sum;
}

# Notes what the workers hold at this moment, without shared buffers.
sub sample_workers
{
	for my $pid (split /\n/, ask("SELECT pid FROM pg_stat_activity WHERE backend_type = 'product_sync worker'"))
	{
		my $now = proc($pid, 'status', 'RssAnon') + proc($pid, 'status', 'RssFile');
		$peak{$pid} = $now if $now > ($peak{$pid} // 0);
	}
}

# MB that the largest of them held, and how many there were.
sub most_memory
{
	my ($most) = sort { $b <=> $a } values %peak, 0;
	return ($most / 1024, scalar keys %peak);
}

1;

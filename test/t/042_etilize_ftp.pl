# From the FTP server to a whole local copy, over a network that fails and with files that change.
use strict;
use warnings;
use POSIX ();
use Digest::SHA qw(sha256_hex);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use ProductSync::Cluster;
use ProductSync::Feed;
use ProductSync::Ftpd;
use ProductSync::Proxy;

my $name = 'CowanOfficeSupplies.zip';
$ENV{PRODUCT_SYNC_FTP} = 'feed-password';
$ENV{OTHER_SECRET} = 'feed-password';
my $node = ProductSync::Cluster->start_new('main');
my $ftpd = ProductSync::Ftpd->start;
my $proxy = ProductSync::Proxy->start(target => $ftpd, ftp => 1);
my @quick = (settle => '100 milliseconds', ftp_stall_timeout => '2 seconds', ftp_connect_timeout => '3 seconds');

srand(42);
# What happens to the file afterwards is for other tests; the run must only be able to go on.
$node->safe_psql('postgres', "INSERT INTO sync.job_kind (kind, network, class, batch, description) VALUES ('feed_load', false, 2, 1, 'loads') ON CONFLICT DO NOTHING");

# A feed of about this many bytes, unlike any other.
sub feed
{
	my ($bytes) = @_;
	return ProductSync::Feed::zip('padding.bin' => pack('L*', map { int rand 2**32 } 1 .. $bytes / 4),
		'feed.csv' => ProductSync::Feed::csv({ Title => 'Binder ' . rand, 'URL handle' => 'binder', Vendor => 'Acme', Type => 'Binders', SKU => 'HB-1' }));
}

my $database = $node->value('SELECT oid FROM pg_database WHERE datname = current_database()');
sub spool { return $node->data_dir . "/product_sync/$database/$_[0]" }
sub has { return $node->value("SELECT $_[0] FROM sync.run WHERE id = $_[1]") }

# Waits until a run has its file, or has ended without; returns the state of its file, or of the run.
sub fetched
{
	my ($run) = @_;
	my $state = '';
	for (my $end = time + 60; time < $end; sleep 0.05)
	{
		$state = $node->value("SELECT coalesce((SELECT f.state::text FROM sync.feed_file f WHERE f.id = r.feed_file_id AND f.state NOT IN ('seen', 'downloading')), CASE WHEN r.active AND r.state <> 'retry_wait' THEN '' ELSE r.state::text END) FROM sync.run r WHERE r.id = $run");
		return $state if $state ne '';
	}
	return "still under way\n" . $node->story($run);
}

# Ends a run, so that the next one may start.
sub over
{
	my ($run) = @_;
	$node->safe_psql('postgres', "SELECT sync_cancel($run) FROM sync.run WHERE id = $run AND active");
}

# Starts a run, waits for its file, and compares what is in the spool folder with what the server had.
sub fetch_ok
{
	my ($content, $what) = @_;
	my $run = $node->start_etilize;
	my $state = fetched($run);
	my $id = has('feed_file_id', $run);
	like($state, qr/^(downloaded|loaded|unchanged|failed)$/, "$what: downloaded") or diag $node->story($run);
	is(sha256_hex(slurp_file(spool("feed-$id.zip"))), sha256_hex($content), "$what: byte by byte");
	ok(!-e spool("feed-$id.zip.part"), "$what: no part is left");
	over($run);
	return ($run, $id);
}

# Starts a run that must fail, and returns its error.
sub failure
{
	my $run = $node->start_etilize;
	is(fetched($run), 'error', 'the run fails') or diag $node->story($run);
	my $error = has("last_error ->> 'message'", $run);
	over($run);
	return $error;
}

# Nothing there ---------------------------------------------------------------------------------------------------------------
$node->etilize($ftpd, @quick);
my $run = $node->start_etilize;
is($node->wait_run($run, undef, 60), 'complete', 'without a file a run ends at once');
is(has("context ->> 'poll'", $run), 'absent', 'and says that there is none');
like(has('message', $run), qr/\Q$name\E is not on the server/, 'by name');

# Plain and under TLS -----------------------------------------------------------------------------------------------------------
my $content = feed(300_000);
$ftpd->put($name, $content, 1_700_000_000);
my ($first, $first_file) = fetch_ok($content, 'plain FTP');
is($node->value("SELECT size || ' ' || extract(epoch FROM modified_at)::bigint FROM sync.feed_file WHERE id = $first_file"),
	length($content) . ' 1700000000', 'size and time are those of the server');
is($node->value("SELECT count(*) FROM sync.run_phase WHERE run_id = $first AND state IN ('ftp_monitoring', 'file_detected', 'downloading') AND ended_at IS NOT NULL"),
	3, 'each state is on record');

# As if the run had come to its end: whether it was ended before that is a matter of milliseconds here.
$node->safe_psql('postgres', "UPDATE sync.feed_file SET state = 'loaded' WHERE id = $first_file");
$node->safe_psql('postgres', "UPDATE sync.run SET state = 'complete' WHERE id = $first");
$run = $node->start_etilize;
is($node->wait_run($run, undef, 60), 'complete', 'the same file again is nothing to do');
is(has("context ->> 'poll'", $run), 'no_new_file', 'and says so');

my $authority = slurp_file($ftpd->certificate);
$node->secret('ftp-ca.pem', $authority);
$node->etilize($ftpd, @quick, ftp_tls => 'explicit', tls_ca_file => 'ftp-ca.pem');
$content = feed(500_000);
$ftpd->put($name, $content);
fetch_ok($content, 'explicit TLS');

$node->etilize($ftpd, @quick, ftp_tls => 'explicit');
$ftpd->put($name, feed(4000));
like(failure(), qr/certificate is not trusted.*tls_ca_file/, 'an unknown certificate is refused, and the message says what to set');

# Wrong settings ------------------------------------------------------------------------------------------------------------------
$node->etilize($ftpd, @quick);
$node->secret('etilize', 'not-the-password');
my $before = $node->log_end;
my $error = failure();
like($error, qr/refused the login/, 'a wrong password is named as such');
unlike($error, qr/not-the-password/, 'and not told');
is($node->log_lines('not-the-password', $before), 0, 'nor written to the log');
chmod 0644, $node->data_dir . '/product_sync/secrets/etilize';
like(failure(), qr/secret file .* is not private/, 'a secret that others can read is not used');
unlink $node->data_dir . '/product_sync/secrets/etilize';
like(failure(), qr/could not open secret file/, 'a secret that is missing');
$node->etilize($ftpd, @quick, path => 'no/such folder');
like(failure(), qr{no/such%20folder/.*550}, 'a folder that is missing is named');
$node->etilize($ftpd, @quick, max_download_bytes => 1000);
like(failure(), qr/more than the 1000 that are allowed/, 'a file that is too large is not downloaded');

# Secrets from elsewhere ------------------------------------------------------------------------------------------------------------
$node->etilize($ftpd, @quick, file_name => 'none.zip');
my $refer = sub { $node->safe_psql('postgres', "UPDATE sync.connection SET secret_ref = '$_[0]'") };
my $absent = sub { my ($id) = $node->run_etilize(60); return has("context ->> 'poll'", $id) };
$refer->('env:PRODUCT_SYNC_FTP');
is($absent->(), 'absent', 'a password from the environment');
$refer->('env:OTHER_SECRET');
like(failure(), qr/may not be used as a secret/, 'but not any variable');
$refer->('vault:ftp');
like(failure(), qr/has no Vault/, 'a Vault that is not there');
$node->safe_psql('postgres', "CREATE SCHEMA vault; CREATE VIEW vault.decrypted_secrets AS SELECT 'ftp' AS name, 'feed-password' AS decrypted_secret");
like(failure(), qr/permission denied/, 'a Vault that sync_worker may not read');
$node->safe_psql('postgres', "GRANT USAGE ON SCHEMA vault TO sync_worker; GRANT SELECT ON vault.decrypted_secrets TO sync_worker");
is($absent->(), 'absent', 'a password from the Vault');
$refer->('vault:other');
like(failure(), qr/no secret of the name "other"/, 'a name that the Vault does not have');
$refer->('file:link');
symlink '/etc/passwd', $node->data_dir . '/product_sync/secrets/link';
like(failure(), qr/could not open secret file/, 'a link is not followed');

# In a folder, with a name that needs quoting -----------------------------------------------------------------------------------
mkdir "$ftpd->{files}/daily feed";
$content = feed(2000);
$ftpd->put('daily feed/new #1 50%.zip', $content);
$node->etilize($ftpd, @quick, path => '/daily feed/', file_name => 'new #1 50%.zip');
$node->etilize($ftpd, @quick, path => 'daily feed', file_name => 'new #1 50%.zip');
fetch_ok($content, 'folder and name with spaces and signs');

# Lost connections --------------------------------------------------------------------------------------------------------------
$node->etilize($ftpd, @quick, via => $proxy);
$content = feed(3_000_000);
$ftpd->put($name, $content);
$proxy->control(scope => 'data', reset_after => 1_000_000, times => 2);
($run) = fetch_ok($content, 'two lost connections');
my @transfers = grep { $_->{name} =~ /\Q$name\E$/ } $ftpd->transfers;
is($proxy->effects->{broken}, 2, 'two connections were broken');
cmp_ok(has("(counts ->> 'bytes_downloaded')::bigint", $run), '<', length($content), 'what was there was not downloaded again');
$proxy->heal;

$content = feed(1_000_000);
$ftpd->put($name, $content);
$proxy->control(scope => 'data', cut_after => 400_000, times => 1);
fetch_ok($content, 'a connection that ended early as if all had come');
$proxy->heal;

$content = feed(1_000_000);
$ftpd->put($name, $content);
$proxy->control(scope => 'data', stall_after => 300_000, times => 1);
fetch_ok($content, 'a connection on which nothing more came');
$proxy->heal;

$content = feed(100_000);
$ftpd->put($name, $content);
$proxy->control(scope => 'control', garbage => 1, times => 1);
fetch_ok($content, 'an answer that makes no sense');
$proxy->heal;

# kill -9 in the middle of a download: PostgreSQL restarts, and the download goes on.
$content = feed(3_000_000);
$ftpd->put($name, $content);
$proxy->control(scope => 'data', bytes_per_second => 1_000_000, times => 1);
$run = $node->start_etilize;
my $part;
for (my $end = time + 30; time < $end; sleep 0.02)
{
	my $id = has("coalesce(feed_file_id, 0)", $run);
	$part = spool("feed-$id.zip.part");
	last if -e $part && -s $part > 500_000;
}
my ($worker) = $node->value("SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'product_sync worker%' AND datname = 'postgres' LIMIT 1");
# A worker may be at the queue at any moment, but not for long.
my $open = "xact_start < clock_timestamp() - interval '200 milliseconds'";
my $seen = 0;
for (1 .. 5)
{
	$seen += $node->value("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'product_sync worker%' AND $open");
	sleep 0.1;
}
is($seen, 0, 'no transaction stays open during a download');
my $had = -s $part;
kill 'KILL', $worker;
$proxy->heal;
$node->poll_query_until('postgres', 'SELECT true') or die 'the server did not come back';
is(fetched($run) =~ /^(downloaded|loaded|unchanged|failed)$/ ? 1 : fetched($run), 1, 'a worker killed during the download: the next one goes on');
my $id = has('feed_file_id', $run);
is(sha256_hex(slurp_file(spool("feed-$id.zip"))), sha256_hex($content), 'byte by byte');
cmp_ok(has("coalesce(counts ->> 'bytes_downloaded', '0')::bigint", $run), '<=', length($content) - $had, 'from where it stopped');
over($run);

# Files that change -----------------------------------------------------------------------------------------------------------------
$node->etilize($ftpd, @quick, via => $proxy, settle => '500 milliseconds');
$ftpd->put($name, feed(10_000));
$run = $node->start_etilize;
$node->poll_query_until('postgres', "SELECT context ? 'look' FROM sync.run WHERE id = $run");
$ftpd->append($name, 'more');
like(fetched($run), qr/^(downloaded|loaded|unchanged|failed)$/, 'a file that grows between the looks');
is($node->value("SELECT size FROM sync.feed_file f JOIN sync.run r ON r.feed_file_id = f.id WHERE r.id = $run"), -s "$ftpd->{files}/$name",
	'is taken when it stands still');
over($run);

$node->etilize($ftpd, @quick, via => $proxy);
$ftpd->put($name, feed(2_000_000));
$proxy->control(scope => 'data', bytes_per_second => 1_000_000, times => 1);
$run = $node->start_etilize;
$node->wait_run($run, ['downloading'], 30);
sleep 0.5;
$content = feed(1_500_000);
$ftpd->put($name, $content, time + 100);
like(fetched($run), qr/^(downloaded|loaded|unchanged|failed)$/, 'a file that is replaced during the download') or diag $node->story($run);
$id = has('feed_file_id', $run);
is(sha256_hex(slurp_file(spool("feed-$id.zip"))), sha256_hex($content), 'is downloaded again, not mixed');
like($node->value("SELECT string_agg(message, ' ') FROM sync.run_phase WHERE run_id = $run AND state = 'downloading'"),
	qr/changed while it was downloaded/, 'and the phase says so');
over($run);
$proxy->heal;

$node->etilize($ftpd, @quick, max_looks => 3, settle => '1 second');
my $writer = fork // die $!;
if ($writer == 0)
{
	for (1 .. 3000) { $ftpd->append($name, 'x'); sleep 0.02 }
	POSIX::_exit(0);
}
$run = $node->start_etilize;
is($node->wait_run($run, undef, 50), 'error', 'a file that never stands still is not taken');
kill 'KILL', $writer;
waitpid $writer, 0;
like(has("last_error ->> 'message'", $run), qr/keeps changing/, 'the error says why');
over($run);

# A schedule looks once a poll --------------------------------------------------------------------------------------------------------
$node->etilize($ftpd, @quick);
$content = feed(5_000);
$ftpd->put($name, $content);
$run = $node->value("SELECT sync.run_start('etilize', 'etilize', 'schedule')");
is($node->wait_run($run, undef, 60), 'complete', 'a scheduled run ends after its first look at a new file');
is(has("context ->> 'poll'", $run), 'waiting', 'and waits for the next poll');
$run = $node->value("SELECT sync.run_start('etilize', 'etilize', 'schedule')");
like(fetched($run), qr/^(downloaded|loaded|unchanged|failed)$/, 'which takes it');
over($run);

# An unreachable server is tried again -----------------------------------------------------------------------------------------------
$ftpd->put($name, feed(6_000));
$node->etilize($ftpd, @quick, via => $proxy);
$proxy->control(refuse => 1);
$node->safe_psql('postgres', "UPDATE sync.job_kind SET backoff_cap = '100 milliseconds' WHERE kind = 'etilize_poll'");
$run = $node->start_etilize;
my $waits;
for (1 .. 200)
{
	last if ($waits = $node->value("SELECT message FROM sync.progress WHERE run_id = $run AND current")) ne '';
	sleep 0.1;
}
like($waits, qr/^nothing is sent to "etilize": it failed 5 times in a row, the last: .*no connection to the server/, 'an unreachable server: the run waits, and says why');
$proxy->heal;
$node->safe_psql('postgres', "SELECT sync_resume('etilize')");
like(fetched($run), qr/^(downloaded|loaded|unchanged|failed)$/, 'and goes on when told to');
over($run);

is($node->log_lines(qr/terminated by signal/), 1, 'nothing crashed but what we killed');
is($node->log_lines(qr/feed-password/), 0, 'the password is nowhere in the log');
# Without workers: in a session ------------------------------------------------------------------------------------------------------
my $plain = ProductSync::Cluster->start_new('plain', preload => 0);
$plain->etilize($ftpd, @quick);
$plain->safe_psql('postgres', "INSERT INTO sync.job_kind (kind, network, class, batch, description) VALUES ('feed_load', false, 2, 1, 'loads') ON CONFLICT DO NOTHING");
$plain->start_etilize;
$plain->safe_psql('postgres', "CALL sync_work('20 seconds')");
like($plain->value('SELECT state FROM sync.feed_file'), qr/^(downloaded|loaded|unchanged|failed)$/, 'CALL sync_work() downloads too');
$plain->stop;

is($node->value("SELECT count(*) FROM sync.transfer_outcomes() WHERE class NOT IN ('network', 'api_limit', 'permanent')"), 0, 'each error has a class');
$node->stop;
done_testing();

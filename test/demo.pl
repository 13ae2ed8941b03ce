#!/usr/bin/perl
# The demonstration itself; test/demo prepares it.
#   demo.pl FOLDER BINDIR
# FOLDER is the demonstration's own, BINDIR that of a private PostgreSQL with the extension in it.  Starts a cluster, an FTP server and
# the Xorosoft double, plays a merchandiser's day with psql, and stops all three whatever happens.
use strict;
use warnings;
use FindBin qw($RealBin);
use lib "$RealBin/lib";
use POSIX qw(strftime);
use ProductSync::Feed;
use ProductSync::Ftpd;
use ProductSync::Server;
use ProductSync::Xorosoft;
use Time::HiRes qw(sleep time);

my ($work, $bindir) = @ARGV;
die "usage: demo.pl FOLDER BINDIR\n" unless $bindir;
my $products = $ENV{DEMO_PRODUCTS} || 600;
my $shop = int($products / 2);
my $data = "$work/data";
my ($cluster, $step) = (0, 0);
my $start = time;
my ($bold, $dim, $plain) = -t STDOUT ? ("\e[1m", "\e[2m", "\e[0m") : ('', '', '');
$| = 1;

$SIG{$_} = sub { print "\nstopped\n"; exit 130 } for qw(INT TERM HUP);

END
{
	my $status = $?;
	if ($cluster) { system("$bindir/pg_ctl", '-D', $data, '-m', 'fast', '-s', '-w', 'stop') }
	$? = $status;
}

# ---- talking -------------------------------------------------------------------------------------------------------------------

sub chapter { print "\n$bold", ++$step, ". $_[0]$plain\n"; print "   $_\n" for @_[1 .. $#_]; print "\n" }
sub note { print "   $_\n" for @_ }

my $port = ProductSync::Server::free_port();
my @psql = ("$bindir/psql", '-X', '-q', '-h', $work, '-p', $port, '-U', 'postgres', '-v', 'ON_ERROR_STOP=1');

# Runs SQL quietly and returns what it says, columns apart by |.
sub ask
{
	my ($sql) = @_;
	open my $pipe, '-|', @psql, '-At', '-d', 'shop', '-c', $sql or die "psql: $!";
	my $answer = join '', <$pipe>;
	close $pipe or die "failed: $sql\n";
	chomp $answer;
	return $answer;
}

# Shows SQL as one would type it, and its result as psql draws it.
sub show
{
	my ($sql) = @_;
	$sql =~ s/^\n|\s+$//g;
	(my $typed = $sql) =~ s/\n/\n         /g;
	print "   ${bold}shop=> $typed;$plain\n";
	open my $pipe, '-|', @psql, '-P', 'border=1', '-P', 'null=-', '-P', 'footer=off', '-d', 'shop', '-c', $sql or die "psql: $!";
	my $lines = 0;
	while (my $line = <$pipe>)
	{
		chomp $line;
		next if $line eq '';
		print "   $line\n";
		$lines++;
	}
	close $pipe or die "failed: $sql\n";
	print "\n";
	return $lines;
}

# Follows a run in sync.progress until it rests: a line for each phase when it ends, and one now and then while it lasts.
sub follow
{
	my ($run) = @_;
	my ($last, $printed) = (0, time);
	while (1)
	{
		my $rests = ask("SELECT NOT (r.active OR EXISTS (SELECT FROM sync.job j WHERE j.run_id = r.id)) FROM sync.run r WHERE r.id = $run") eq 't';
		for my $line (split /\n/, ask("SELECT phase_id, phase, ended_at IS NOT NULL, done, coalesce(total::text, ''), unit, coalesce(percent::text, ''),
			round(extract(epoch FROM elapsed)::numeric, 1), coalesce(round(per_second)::text, ''), coalesce(extract(epoch FROM time_left)::integer::text, ''),
			replace(coalesce(nullif(last_error, ''), message, ''), E'\\n', ' ')
			FROM sync.progress WHERE run_id = $run AND phase_id > $last ORDER BY phase_id"))
		{
			my ($id, $phase, $ended, $done, $total, $unit, $percent, $seconds, $rate, $left, $message) = split /\|/, $line, 11;
			my $amount = $total ne '' && $total > 0 ? "$done of $total $unit" : $done > 0 && $unit ne '' ? "$done $unit" : '';
			if ($ended eq 't' || $rests)
			{
				printf "   %-20s %6ss  %-28s %s\n", $phase, $seconds, $amount, $message;
				$last = $id;
				$printed = time;
			}
			elsif (time - $printed > 2 && $percent ne '' && $percent < 100)
			{
				printf "   $dim%-20s %6ss  %-28s %s$plain\n", $phase, $seconds, $amount,
					join(', ', "$percent %", $rate ne '' ? "$rate a second" : (), $left ne '' ? "$left s left" : ());
				$printed = time;
			}
		}
		last if $rests;
		sleep 0.2;
	}
	print "\n";
	return ask("SELECT state FROM sync.run WHERE id = $run");
}

sub run_feed
{
	print "   ${bold}shop=> SELECT sync_run_etilize();$plain\n";
	my $run = ask('SELECT sync_run_etilize()');
	print "   run $run\n\n";
	my $state = follow($run);
	return ($run, $state);
}

# ---- the servers ---------------------------------------------------------------------------------------------------------------

chapter("A PostgreSQL cluster, a supplier's FTP server and an ERP", "all three are this demonstration's own, on 127.0.0.1, and end with it");

system("$bindir/initdb -D '$data' -U postgres -A trust -N --locale=C.UTF-8 -E UTF8 > '$work/initdb.log' 2>&1") == 0 or die "initdb failed: $work/initdb.log\n";
open my $conf, '>>', "$data/postgresql.conf" or die $!;
print $conf <<"END";
listen_addresses = ''
unix_socket_directories = '$work'
port = $port
shared_preload_libraries = 'product_sync'
product_sync.databases = 'shop'
timezone = 'UTC'
fsync = off
END
close $conf;
system("$bindir/pg_ctl", '-D', $data, '-s', '-w', '-l', "$work/postgresql.log", 'start') == 0 or die "PostgreSQL did not start: $work/postgresql.log\n";
$cluster = 1;
my $ftpd = ProductSync::Ftpd->start(dir => $work, password => 'ftp-secret');
my $xorosoft = ProductSync::Xorosoft->start(dir => $work, count => $products, known => 0.9, key => 'app', secret => 'erp-secret', rate => 100);
system("$bindir/createdb", '-h', $work, '-p', $port, '-U', 'postgres', 'shop') == 0 or die "createdb failed\n";

mkdir "$data/product_sync", 0700;
mkdir "$data/product_sync/secrets", 0700;
for ([ etilize => 'ftp-secret' ], [ xorosoft => 'erp-secret' ])
{
	open my $secret, '>', "$data/product_sync/secrets/$_->[0]" or die $!;
	chmod 0600, $secret;
	print $secret $_->[1];
}
show('CREATE EXTENSION product_sync');
show('SELECT sync_install()');
note('(A run that would change more than max_change_share of the catalogue is held for people; a first feed changes nearly all of it.)', '');
show(<<"END");
INSERT INTO sync.connection (name, kind, base_url, username, secret_ref, settings) VALUES
    ('etilize', 'etilize', '@{[ $ftpd->base_url ]}', 'feed', 'file:etilize', '{"settle": "1 second", "max_change_share": "1"}'),
    ('xorosoft', 'xorosoft', '@{[ $xorosoft->base_url ]}', 'app', 'file:xorosoft', '{"requests_per_second": "50"}')
END

# ---- the shop as it is, and the first feed ---------------------------------------------------------------------------------------

my $first = ProductSync::Feed::made_up(dir => $work, products => $products, catalogue => "$work/shop.sql", existing => $shop, broken => 3);
my $loaded = system(@psql, '-o', '/dev/null', '-d', 'shop', '-f', "$work/shop.sql");
die "the catalogue could not be loaded\n" if $loaded != 0;
$ftpd->put('CowanOfficeSupplies.zip', \$first);

chapter("The first feed: $products products, three records of it broken",
	"The shop sells $shop of them already, under its own SKUs: some with a barcode, some with brand and part number,",
	"some with a title only that is worded a little differently.  The ERP knows nine of ten.");
my ($run, $state) = run_feed();
die "the run ended as $state, which the demonstration did not expect\n" unless $state eq 'manual_review';

chapter('What would change, and why', 'Nothing has reached the catalogue that is not approved: what is surer than 95 % by itself, the rest by people.');
show(<<"END");
SELECT kind, decision, state, method, count(*), round(min(confidence)::numeric, 2) AS "surest from", round(max(confidence)::numeric, 2) AS "to"
FROM sync.staging WHERE run_id = $run
GROUP BY kind, decision, state, method ORDER BY kind DESC, decision, state, method
END
show(<<"END");
SELECT DISTINCT ON (kind, decision, method) id, kind, decision, left(title, 32) AS title, left(reason, 95) AS reason
FROM sync.staging WHERE run_id = $run ORDER BY kind, decision, method, id
END
show(<<"END");
SELECT f.staging_id AS entry, f.path, left(f.old_value::text, 34) AS old, left(f.new_value::text, 34) AS new, f.decision
FROM sync.staging_field f JOIN sync.staging s ON s.id = f.staging_id
WHERE s.run_id = $run AND s.decision = 'pending'
ORDER BY s.id, f.path LIMIT 8
END
show(<<"END");
SELECT line, header, left(value, 30) AS value, left(reason, 70) AS reason
FROM sync.feed_reject ORDER BY line LIMIT 5
END

chapter('A merchandiser decides', 'by function, or by editing the decision in a table editor: of whole products, or of one field');
my ($one, $two, $field_of) = split /\n/, ask("SELECT id FROM sync.staging WHERE run_id = $run AND kind = 'update' AND decision = 'pending' ORDER BY id LIMIT 3");
if (defined $field_of)
{
	show("SELECT * FROM sync_approve(ARRAY[$one], 'checked against the catalogue')");
	show("UPDATE sync.staging SET decision = 'rejected', note = 'not the same product' WHERE id = $two");
	show("UPDATE sync.staging_field SET decision = 'approved' WHERE staging_id = $field_of AND path = (SELECT min(path) FROM sync.staging_field WHERE staging_id = $field_of)");
}
show(qq(SELECT * FROM sync_approve_where('{"run_id": $run, "kind": "create"}', 'new in the range', dry_run => true)));
show(qq(SELECT * FROM sync_approve_where('{"run_id": $run, "kind": "create"}', 'new in the range', dry_run => false)));
ask("SELECT sync_wait($run, '2 minutes')");
show(<<"END");
SELECT kind, decision, state, count(*) FROM sync.staging WHERE run_id = $run GROUP BY kind, decision, state ORDER BY kind DESC, decision, state
END
show('SELECT (SELECT count(*) FROM sync.product) AS products, (SELECT count(*) FROM sync.variant) AS variants, (SELECT count(*) FROM sync.product_version) AS versions');

# ---- the second feed -------------------------------------------------------------------------------------------------------------

my $second = ProductSync::Feed::made_up(dir => $work, products => $products, generation => 1, change => 0.1);
$ftpd->put('CowanOfficeSupplies.zip', \$second, time + 60);
chapter('The next day: a changed feed', 'One product in ten has another price or title.  Their SKUs are confirmed by now, so no one has to look.');
my ($next, $end) = run_feed();
show(<<"END");
SELECT kind, decision, state, method, count(*) FROM sync.staging WHERE run_id = $next GROUP BY kind, decision, state, method ORDER BY kind DESC, decision
END
show(<<"END");
SELECT p.handle, c.version, c.path AS field, left(c.old_value #>> '{}', 24) AS old, left(c.new_value #>> '{}', 24) AS new, c.source, left(c.actor, 20) AS "approved by"
FROM sync.product_change c JOIN sync.product p ON p.id = c.product_id
WHERE c.run_id = $next ORDER BY c.at, c.product_id, c.path LIMIT 6
END

chapter('The same feed once more', 'The same content is nothing to do, and the run says so.');
$ftpd->put('CowanOfficeSupplies.zip', \$second, time + 120);
my ($again, $same) = run_feed();

# ---- the end ---------------------------------------------------------------------------------------------------------------------

my $asked = $xorosoft->effects;
chapter('What happened');
note(split /\n/, ask(<<"END"));
SELECT format('run %s: %s after %s s; %s', r.id, r.state, round(extract(epoch FROM r.state_at - r.created_at)::numeric, 1),
	concat_ws(', ',
		(SELECT format('%s records, %s products, %s rejected', f.records, f.products, f.rejected) FROM sync.feed_file f WHERE f.id = r.feed_file_id AND f.records IS NOT NULL),
		(SELECT concat_ws(', ', format('%s entries staged: %s approved by themselves, %s by people', count(*), count(*) FILTER (WHERE decision = 'approved' AND decided_how LIKE 'auto%'),
				count(*) FILTER (WHERE decision = 'approved' AND decided_how NOT LIKE 'auto%')),
			nullif(count(*) FILTER (WHERE decision = 'rejected'), 0) || ' rejected',
			nullif(count(*) FILTER (WHERE decision = 'pending' AND state = 'open'), 0) || ' wait for people',
			nullif(count(*) FILTER (WHERE state = 'superseded'), 0) || ' superseded by a newer feed')
		 FROM sync.staging s WHERE s.run_id = r.id HAVING count(*) > 0),
		CASE WHEN NOT EXISTS (SELECT FROM sync.staging s WHERE s.run_id = r.id) THEN r.message END))
FROM sync.run r ORDER BY r.id
END
note(ask("SELECT format('the catalogue: %s products, %s variants, %s versions, each with its source, run and approver', (SELECT count(*) FROM sync.product), (SELECT count(*) FROM sync.variant), (SELECT count(*) FROM sync.product_version))"));
note("the ERP was asked $asked->{requests} times, never more than $asked->{max_concurrency} at once; $asked->{throttled} refused for haste");
note(sprintf 'all of it in %.0f s', time - $start);

die "the second run ended as $end\n" unless $end =~ /^(complete|manual_review)$/;
die "the unchanged feed ended as $same\n" unless $same eq 'complete';
print "\n";

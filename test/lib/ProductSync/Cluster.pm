# A PostgreSQL cluster of a TAP test with product_sync in it: PostgreSQL::Test::Cluster, and what every test of the flow needs.
#   my $node = ProductSync::Cluster->start_new('main', cron => 1);
#   $node->etilize($ftpd);  $node->xorosoft($x);
#   my $run = $node->run_etilize;  is($node->run_state($run), 'review_pending')
package ProductSync::Cluster;
use strict;
use warnings;
use parent -norequire, 'PostgreSQL::Test::Cluster';
use Carp;
use JSON::PP;
use File::Path qw(make_path);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils ();    # its functions would hide the parent's methods
use Time::HiRes qw(sleep time);

# Starts a cluster with the extension in database postgres.  Options: databases (in which workers run, default postgres), cron (with
# pg_cron too), conf (more lines of postgresql.conf), extension => 0 (leaves CREATE EXTENSION to the test), install => 0 (leaves
# sync_install() to it), preload => 0 (the library is not preloaded: CALL sync_work() only).
sub start_new
{
	my ($class, $name, %option) = @_;
	my $self = bless PostgreSQL::Test::Cluster->new($name), $class;
	my @preload = (($option{preload} // 1) ? 'product_sync' : (), $option{cron} ? 'pg_cron' : ());

	$self->init(%{ $option{init} // {} });
	$self->append_conf('postgresql.conf', join "\n",
		"shared_preload_libraries = '" . join(',', @preload) . "'",
		"log_statement = none", "restart_after_crash = on", "timezone = 'UTC'", "shared_buffers = '64MB'",
		($option{preload} // 1) ? "product_sync.databases = '" . ($option{databases} // 'postgres') . "'" : (),
		$option{cron} ? ("cron.database_name = 'postgres'", "cron.use_background_workers = on", 'max_worker_processes = 20') : (),
		$option{conf} // ());
	$self->start;
	$self->safe_psql('postgres', 'CREATE EXTENSION pg_cron') if $option{cron};
	if ($option{extension} // 1)
	{
		$self->safe_psql('postgres', 'CREATE EXTENSION product_sync');
		$self->safe_psql('postgres', 'SELECT sync_install()') if $option{install} // 1;
	}
	return $self;
}

# Writes a secret where connections find it as file:NAME.
sub secret
{
	my ($self, $name, $value) = @_;
	my $dir = $self->data_dir . '/product_sync/secrets';
	make_path($dir);
	chmod 0700, $dir;
	my $path = "$dir/$name";
	open my $out, '>', $path or croak "$path: $!";
	chmod 0600, $path;
	print $out $value;
	close $out or croak "$path: $!";
}

# Adds or changes a connection; settings are those of sync.setting.
sub connection
{
	my ($self, $name, $kind, $url, $user, $password, %settings) = @_;
	$self->secret($name, $password);
	my $json = JSON::PP->new->canonical->encode(\%settings);
	$user = defined $user ? "'$user'" : 'NULL';
	$self->safe_psql($self->database, <<"END");
INSERT INTO sync.connection (name, kind, base_url, username, secret_ref, settings)
VALUES ('$name', '$kind', '$url', $user, 'file:$name', \$json\$$json\$json\$)
ON CONFLICT (name) DO UPDATE SET base_url = excluded.base_url, username = excluded.username, secret_ref = excluded.secret_ref,
	settings = excluded.settings;
END
}

# The connection to an FTP server, or through a proxy before it: etilize($ftpd, via => $proxy, setting => value ...).
sub etilize
{
	my ($self, $ftpd, %settings) = @_;
	my $via = delete $settings{via} // $ftpd;
	$self->connection('etilize', 'etilize', 'ftp://127.0.0.1:' . $via->port . '/', $ftpd->{user}, $ftpd->{password}, %settings);
}

# The same for the Xorosoft double.
sub xorosoft
{
	my ($self, $xorosoft, %settings) = @_;
	my $via = delete $settings{via} // $xorosoft;
	$self->connection('xorosoft', 'xorosoft', 'http://127.0.0.1:' . $via->port . '/api/xerp/', $xorosoft->{key}, $xorosoft->{secret}, %settings);
}

# The connection to the Shopify double, or through a proxy before it: shopify($shop, via => $proxy, setting => value ...).  With
# grant => 1 it gets its tokens by the client-credentials grant; else it has a permanent one.
sub shopify
{
	my ($self, $shop, %settings) = @_;
	my $via = delete $settings{via} // $shop;
	my $name = delete $settings{name} // 'shopify';
	my $url = 'http://127.0.0.1:' . $via->port . '/';
	# A test that is not about sending shall not send.
	$settings{push_after_changes} //= 'false';
	return $self->connection($name, 'shopify', $url, $shop->{client_id}, $shop->{client_secret}, %settings) if delete $settings{grant};
	$self->secret("$name-hmac", $shop->{client_secret});
	return $self->connection($name, 'shopify', $url, undef, $shop->token, webhook_secret_ref => "file:$name-hmac", %settings);
}

# One value; NULL is ''.
sub value { my ($self, $sql) = @_; return $self->safe_psql($self->database, $sql) }

# The database that the calls below are about; given one, it is that from now on.
sub database { my ($self, $name) = @_; $self->{database} = $name if defined $name; return $self->{database} // 'postgres' }

# Starts a run and returns its id.
sub start_etilize { return $_[0]->value('SELECT sync_run_etilize()') }
sub start_xorosoft { return $_[0]->value('SELECT sync_run_xorosoft()') }

sub run_state { my ($self, $run) = @_; return $self->value("SELECT state FROM sync.run WHERE id = $run") }

# Waits until a run is in one of the states, or, without states, until it rests (finished, failed for good, or waiting for people); returns its state.  Dies with what the
# run knows when that takes more than $seconds.
sub wait_run
{
	my ($self, $run, $states, $seconds) = @_;
	my $end = time + ($seconds // $PostgreSQL::Test::Utils::timeout_default);
	my ($state, $active);

	while (time < $end)
	{
		($state, $active) = split /\|/, $self->value("SELECT state, active OR EXISTS (SELECT FROM sync.job j WHERE j.run_id = r.id) FROM sync.run r WHERE id = $run");
		return $state if $states ? grep { $_ eq $state } @$states : $active eq 'f';
		sleep 0.05;
	}
	my $story = $self->story($run);
	croak "run $run is still in state $state after " . ($seconds // $PostgreSQL::Test::Utils::timeout_default) . " s\n$story";
}

# Starts a run of the feed and waits until it has nothing more to do; returns its id and its state.
sub run_etilize
{
	my ($self, $seconds) = @_;
	my $run = $self->start_etilize;
	return ($run, $self->wait_run($run, undef, $seconds));
}

# What a run went through, for messages.
sub story
{
	my ($self, $run) = @_;
	return $self->value("SELECT string_agg(concat_ws(' ', p.started_at::time(1), p.state, p.done || '/' || coalesce(p.total::text, '?'), p.message, p.error), E'\\n' ORDER BY p.id) FROM sync.run_phase p WHERE p.run_id = $run")
		. "\n" . $self->value("SELECT 'jobs: ' || coalesce(string_agg(concat_ws(' ', kind, count, error), '; '), 'none') FROM (SELECT kind, count(*), max(last_error::text) AS error FROM sync.job WHERE run_id = $run GROUP BY kind) j")
		. "\n" . $self->value("SELECT 'dead: ' || coalesce(string_agg(concat_ws(' ', kind, error), '; '), 'none') FROM sync.dead_letter WHERE run_id = $run");
}

# Process ids of the workers that are connected to a database now, the coordinator not among them.
sub workers
{
	my ($self, $database) = @_;
	return split /\n/, $self->value("SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'product_sync worker%'"
		. ($database ? " AND datname = '$database'" : '') . ' ORDER BY pid');
}

# The catalogue as a few lines that are equal for equal catalogues, whatever ids and times it has: counts, and a hash of each table's
# content.
sub catalogue
{
	my ($self, $database) = @_;
	return $self->safe_psql($database // $self->database, <<'END');
SELECT 'products ' || count(*) || ' ' || coalesce(md5(string_agg(concat_ws('|', handle, title, description, vendor, type, tags, images, status, metafields, attributes, version), E'\n' ORDER BY handle COLLATE "C", title COLLATE "C")), '')
FROM sync.product
UNION ALL
SELECT 'variants ' || count(*) || ' ' || coalesce(md5(string_agg(concat_ws('|', v.sku, p.handle, v.gtin, v.barcode, v.mpn, v.price, v.compare_at_price, v.cost, v.currency, v.weight, v.options, v.attributes), E'\n' ORDER BY v.sku COLLATE "C")), '')
FROM sync.variant v JOIN sync.product p ON p.id = v.product_id
UNION ALL
SELECT 'versions ' || count(*) || ' ' || coalesce(md5(string_agg(concat_ws('|', p.handle, v.version, v.kind), E'\n' ORDER BY p.handle COLLATE "C", v.version)), '')
FROM sync.product_version v JOIN sync.product p ON p.id = v.product_id
UNION ALL
SELECT 'sources ' || count(*) || ' ' || coalesce(md5(string_agg(concat_ws('|', s.supplier_sku, v.sku), E'\n' ORDER BY s.supplier_sku COLLATE "C")), '')
FROM sync.variant_source s JOIN sync.variant v ON v.id = s.variant_id
END
}

# The number of lines in the server's log that match, from $offset (as from log_end).
sub log_lines
{
	my ($self, $pattern, $offset) = @_;
	my $text = PostgreSQL::Test::Utils::slurp_file($self->logfile, $offset // 0);
	return scalar(() = $text =~ /$pattern/g);
}

sub log_end { return -s $_[0]->logfile }

1;

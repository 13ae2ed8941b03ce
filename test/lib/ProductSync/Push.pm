# A catalogue that was read from a Shopify double, for tests of what is sent to it.
#   my $push = ProductSync::Push->new(products => 30);
#   $push->sql("UPDATE sync.variant SET price = 5 WHERE id = 1");   my $run = $push->up;   is($push->apart, '');
# The queue is worked on by CALL sync_work() in this session, unless workers => 1.
package ProductSync::Push;
use strict;
use warnings;
use JSON::PP;
use ProductSync::Cluster;
use ProductSync::Merchant;
use ProductSync::Session;
use ProductSync::Shopify;

# products, variants: of the shop; shop: options of the double; via: a sub that makes the proxy before it; settings of the connection; conf.
sub new
{
	my ($class, %option) = @_;
	my $self = bless {%option}, $class;
	$self->{shop} = ProductSync::Shopify->start(products => $option{products} // 20, variants => $option{variants} // 2, levels => 2, throttle => JSON::PP::false, %{ $option{double} // {} });
	$self->{via} = $option{via} ? $option{via}->($self->{shop}) : undef;
	$self->{node} = ProductSync::Cluster->start_new($option{name} // 'push', preload => $option{workers} // 0, conf => "fsync = off\n" . ($option{conf} // ''));
	$self->{node}->shopify($self->{shop}, ($self->{via} ? (via => $self->{via}) : ()), shop_domain => 'test-shop.myshopify.com', webhook_debounce => '0',
		push_after_changes => 'false', max_change_share => 1, retry_wait => '0', %{ $option{settings} // {} });
	# Where workers may be killed, a session would not outlive them.
	$self->{session} = ProductSync::Session->new($self->{node}->connstr('postgres')) if !$option{workers};
	$self->sql("UPDATE sync.job_kind SET backoff_base = '1 millisecond', backoff_cap = '1 millisecond'") if !$option{workers};
	$self->pull('full');
	return $self;
}

sub sql { my ($self, $sql) = @_; return $self->{session} ? $self->{session}->ask($sql) : $self->{node}->value($sql) }
sub value { my ($self, $sql) = @_; return $self->sql($sql) }
sub work { my ($self, $time) = @_; $self->sql("CALL sync_work('" . ($time // '20 seconds') . "')") if !$self->{workers} }

# Works on the queue until a run rests; returns its id.
sub finish
{
	my ($self, $run) = @_;
	if ($self->{workers}) { $self->{node}->wait_run($run) }
	else { $self->work }
	return $run;
}

sub pull { my ($self, $mode) = @_; return $self->finish($self->sql("SELECT sync_run_shopify_down('" . ($mode // 'auto') . "')")) }
sub up { my ($self, $call) = @_; return $self->finish($self->sql('SELECT ' . ($call // 'sync_run_shopify_up()'))) }
sub state { my ($self, $run) = @_; return $self->sql("SELECT concat_ws(' ', state, message) FROM sync.run WHERE id = $run") }
sub remote { my ($self, $product) = @_; return $self->sql("SELECT remote_id FROM sync.product_listing WHERE product_id = $product") }

sub story
{
	my ($self, $run) = @_;
	return $self->{node}->story($run) . "\n" . $self->sql("SELECT string_agg(concat_ws(' ', p.id, p.part, p.state, p.wanted, p.error ->> 'message'), E'\\n' ORDER BY p.id) FROM sync.push p WHERE p.run_id = $run")
		. "\n" . $self->sql("SELECT string_agg(concat_ws(' ', c.id, c.part, c.method, c.step, c.finished_at IS NOT NULL, c.error), E'\\n' ORDER BY c.id) FROM sync.push_call c")
		. "\n" . $self->sql("SELECT string_agg(concat_ws(' ', j.kind, j.payload, j.attempt, j.last_error), E'\\n') FROM sync.job j")
		. "\n" . $self->sql("SELECT string_agg(concat_ws(' ', s.id, s.state, s.decision, s.reason, s.error), E'\\n' ORDER BY s.id) FROM sync.staging s WHERE s.run_id = $run AND s.state::text <> 'applied'")
		. "\n" . $self->sql("SELECT string_agg(d.error::text, E'\\n') FROM sync.dead_letter d");
}

# How many requests the double has had; calls() then counts what came since, by root field.
sub mark { my ($self) = @_; return scalar @{ $self->{shop}->log } }

sub calls
{
	my ($self, $mark) = @_;
	my @log = @{ $self->{shop}->log };
	my %count;
	for my $entry (grep { $_->{fields} } @log[ $mark .. $#log ])
	{
		$count{requests}++;
		$count{$_}++ for @{ $entry->{fields} };
	}
	return \%count;
}

# Fields on which the catalogue and the shop, as it is now, differ.
sub apart
{
	my ($self, $condition) = @_;
	$self->{merchant} //= ProductSync::Merchant->new(shop => $self->{shop});
	my $all = $self->{merchant}->all;
	my $json = JSON::PP->new->canonical->allow_nonref->ascii;
	$self->sql('CREATE TABLE IF NOT EXISTS public.shop_now (remote_id bigint, document jsonb, stock jsonb); TRUNCATE public.shop_now');
	for my $remote (keys %$all)
	{
		my $document = ProductSync::World::by_sku($all->{$remote});
		my %stock = map { ($_ => $self->{merchant}{stock}{ $self->{merchant}->variant_of($remote, $_) }) } keys %{ $document->{variants} };
		$self->sql("INSERT INTO public.shop_now VALUES ($remote, \$j\$" . $json->encode($document) . "\$j\$, \$j\$" . $json->encode(\%stock) . "\$j\$)");
	}
	return $self->sql("SELECT string_agg(format('product %s %s', product_id, path), ', ' ORDER BY product_id, path) FROM (
		SELECT l.product_id, d.path FROM public.shop_now n JOIN sync.product_listing l USING (remote_id)
		CROSS JOIN LATERAL sync.document_merge(NULL, NULL, sync.product_document(l.product_id), n.document) d
		WHERE d.status <> 'converged' AND d.path NOT LIKE 'images%'
		UNION ALL
		SELECT v.product_id, sync.stock_path(v.sku, k.location_id) FROM sync.stock_level k JOIN sync.variant v ON v.id = k.variant_id
		JOIN sync.product_listing l ON l.product_id = v.product_id JOIN public.shop_now n USING (remote_id)
		WHERE k.local IS DISTINCT FROM (n.stock -> v.sku ->> k.location_id::text)::numeric) a WHERE " . ($condition // 'true'));
}

1;

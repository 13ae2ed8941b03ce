# A shop in the test's own memory, for tests of the merge alone: it has what ProductSync::Merchant has, without a network, and
# pull() writes the mirror itself.
package ProductSync::MemoryShop;
use strict;
use warnings;
use JSON::PP;
use ProductSync::World;

my $json = JSON::PP->new->canonical->allow_nonref->ascii;

sub new { my ($class, %option) = @_; return bless { products => {}, stock => {}, next => 1000, clock => 1_700_000_000, %option }, $class }

sub remotes { my ($self) = @_; return sort { $a <=> $b } grep { $self->{products}{$_} } keys %{ $self->{products} } }
sub read { my ($self, $remote) = @_; return $self->{products}{$remote} }
sub known { my ($self, $remote) = @_; return $self->{products}{$remote} }
sub writes { return $_[0]{writes} // 0 }
sub all { my ($self) = @_; return { map { ($_ => $self->{products}{$_}) } $self->remotes } }

# The number of a variant with this SKU.
sub variant_of
{
	my ($self, $remote, $sku) = @_;
	my $variants = $self->{products}{$remote}{variants};
	return (grep { $variants->{$_}{sku} eq $sku } sort keys %$variants)[0];
}

# The shop's clock moves with each change.
sub touch { my ($self, $remote) = @_; $self->{dirty}{$remote} = 1; $self->{updated}{$remote} = ++$self->{clock} }
sub updated_at { my ($self, $remote) = @_; return "to_timestamp($self->{updated}{$remote})" }

sub create
{
	my ($self, $document) = @_;
	my $remote = $self->{next}++;
	my %copy = %{ $json->decode($json->encode($document)) };
	my $k = 0;
	$copy{variants} = { map { (10 * $remote + $k++ => { %{ $document->{variants}{$_} }, sku => $_ }) } sort keys %{ $document->{variants} } };
	$self->{products}{$remote} = \%copy;
	$self->touch($remote);
	return $remote;
}

# Sets fields, by paths with SKUs; an undefined value takes a field away, or a variant.
sub write
{
	my ($self, $remote, $changes) = @_;
	my $document = $self->{products}{$remote} // return;
	for my $path (sort keys %$changes)
	{
		my $value = $changes->{$path};
		my ($place, $key) = ($document, $path);
		if ($path =~ /^variants\[([^\]]*)\]$/)
		{
			my $number = $self->variant_of($remote, $1) // 10 * $remote + 5 + keys %{ $document->{variants} };
			($place, $key, $value) = ($document->{variants}, $number, $value && { %$value, sku => $1 });
		}
		elsif ($path =~ /^variants\[([^\]]*)\]\.(.*)$/)
		{
			my $number = $self->variant_of($remote, $1) // next;
			($place, $key) = ($document->{variants}{$number}, $2);
			($place, $key) = ($place->{options} //= {}, $1) if $key =~ /^options\.(.*)$/;
		}
		elsif ($path =~ /^(metafields|attributes)\.(.*)$/) { ($place, $key) = ($document->{$1} //= {}, $2) }
		if (defined $value) { $place->{$key} = $value } else { delete $place->{$key} }
	}
	$self->touch($remote);
	$self->{writes}++;
	return $document;
}

sub send { my ($self, @what) = @_; return $self->write(@what) }

sub remove
{
	my ($self, $remote) = @_;
	delete $self->{products}{$remote};
	$self->{dirty}{$remote} = 1;
}

sub stock_known { my ($self, $remote, $sku, $location) = @_; return $self->{stock}{ $self->variant_of($remote, $sku) // 0 }{$location} }

# Sets what is available; where $from is given and is not what there is, nothing, and returns undef.
sub set_stock
{
	my ($self, $remote, $sku, $location, $quantity, $from, $key) = @_;
	my $variant = $self->variant_of($remote, $sku) // return;
	return $self->{keys}{$key} if defined $key && exists $self->{keys}{$key};
	return if defined $from && $from != ($self->{stock}{$variant}{$location} // 0);
	$self->{keys}{$key} = $quantity if defined $key;
	$self->{level_updated}{$variant}{$location} = ++$self->{clock};
	$self->{stock}{$variant}{$location} = $quantity;
	$self->{dirty}{$remote} = 1;
	$self->{writes}++ if defined $from;
	return $quantity;
}

# The mirror as a pull would write it: of all, or of a share of what changed.
sub pull
{
	my ($self, $world, $mode, $share) = @_;
	my @numbers = $mode eq 'full' ? (sort { $a <=> $b } keys %{ { %{ $self->{products} }, %{ $self->{dirty} // {} } } })
		: grep { $world->chance($share) } sort { $a <=> $b } keys %{ $self->{dirty} // {} };
	my @rows;
	for my $remote (@numbers)
	{
		my $document = $self->{products}{$remote};
		delete $self->{dirty}{$remote};
		push @rows, $document
			? { remote => $remote, document => $document, updated => $self->{updated}{$remote},
				variants => { map { ($_ => { sku => $document->{variants}{$_}{sku}, inventory_item => $_ + 1, tracked => JSON::PP::true, policy => 'deny' }) } keys %{ $document->{variants} } },
				stock => [ map { my $v = $_; map { { item => $v + 1, location => $_ + 0, available => $self->{stock}{$v}{$_}, updated => $self->{level_updated}{$v}{$_} } } sort keys %{ $self->{stock}{$v} // {} } } sort keys %{ $document->{variants} } ] }
			: { remote => $remote, gone => JSON::PP::true };
	}
	my $text = $json->encode(\@rows);
	return <<"END";
INSERT INTO sync.shopify_product AS p (connection, remote_id, handle, document, variants, remote_updated_at, seen_at)
SELECT 'shop', (r ->> 'remote')::bigint, r #>> '{document,handle}', r -> 'document', r -> 'variants', to_timestamp((r ->> 'updated')::float8), clock_timestamp()
FROM jsonb_array_elements(\$j\$$text\$j\$) r WHERE r -> 'gone' IS NULL
ON CONFLICT (connection, remote_id) DO UPDATE SET document = excluded.document, variants = excluded.variants, remote_updated_at = excluded.remote_updated_at, seen_at = clock_timestamp(),
	merge_due = p.merge_due OR p.document <> excluded.document OR p.gone_since IS NOT NULL, gone_since = NULL, gone_evidence = NULL;
UPDATE sync.shopify_product p SET gone_since = now(), gone_evidence = 'webhook', merge_due = true
FROM jsonb_array_elements(\$j\$$text\$j\$) r WHERE p.remote_id = (r ->> 'remote')::bigint AND r -> 'gone' IS NOT NULL AND p.gone_since IS NULL;
INSERT INTO sync.shopify_stock (connection, inventory_item_id, location_id, available, remote_updated_at)
SELECT 'shop', (s ->> 'item')::bigint, (s ->> 'location')::bigint, (s ->> 'available')::integer, to_timestamp((s ->> 'updated')::float8)
FROM jsonb_array_elements(\$j\$$text\$j\$) r, jsonb_array_elements(r -> 'stock') s
ON CONFLICT (connection, inventory_item_id, location_id) DO UPDATE SET available = excluded.available, remote_updated_at = excluded.remote_updated_at;
END
}

1;

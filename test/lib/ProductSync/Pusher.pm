# Sends what sync.shop_outbox() lists to a shop, as the push of a later version will: what a product has is read again just before it is
# written, only fields that are as they were are written, and the answer goes to sync.shop_pushed() — unless it is lost.
#   my $pusher = ProductSync::Pusher->new(sql => sub { ... }, shop => $shop, world => $world);
#   $pusher->push(share => 0.8, lose => 0.1);      # how many products were sent
package ProductSync::Pusher;
use strict;
use warnings;
use JSON::PP;
use ProductSync::World;

my $json = JSON::PP->new->canonical->allow_nonref->ascii;

sub new { my ($class, %option) = @_; return bless { sent => 0, lost => 0, stale => 0, %option }, $class }

sub literal { my ($value) = @_; return '$j$' . $json->encode($value) . '$j$::jsonb' }

# What the outbox holds, by product.
sub outbox
{
	my ($self) = @_;
	my %products;
	for my $row (@{ $json->decode($self->{sql}->("SELECT coalesce(jsonb_agg(o ORDER BY product_id, path), '[]') FROM sync.shop_outbox('shop') o")) })
	{
		push @{ $products{ $row->{remote_id} }{ defined $row->{location_id} ? 'stock' : 'fields' } }, $row;
	}
	return \%products;
}

# Sends a share of what waits; of some, the answer is lost.
sub push
{
	my ($self, %option) = @_;
	my $world = $self->{world};
	my $products = $self->outbox;
	my $sent = 0;

	for my $remote (sort { $a <=> $b } keys %$products)
	{
		next unless $world->chance($option{share} // 1);
		$sent += $self->push_fields($remote, $products->{$remote}{fields}, $option{lose} // 0) if $products->{$remote}{fields};
		$sent += $self->push_stock($_, $option{lose} // 0) for @{ $products->{$remote}{stock} // [] };
	}
	return $sent;
}

sub push_fields
{
	my ($self, $remote, $rows, $lose) = @_;
	my $present = $self->{shop}->read($remote) // return 0;
	my $document = ProductSync::World::by_sku($present);
	# What somebody changed in the shop since it was read is for the next merge.
	my @same = map { $_->{path} =~ /^variants\[[^\]]*\]$/ ? $_->{shopify_value} : ProductSync::World::value_at($document, $_->{path}) } @$rows;
	my $equal = $json->decode($self->{sql}->('SELECT jsonb_agg(sync.value_equal(r.path, r.now, r.then) ORDER BY r.no) FROM jsonb_array_elements('
		. literal([ map { { path => $rows->[$_]{path}, now => $same[$_], then => $rows->[$_]{shopify_value} } } 0 .. $#$rows ])
		. ") WITH ORDINALITY AS e (v, no) CROSS JOIN LATERAL (SELECT v ->> 'path' AS path, nullif(v -> 'now', 'null') AS now, nullif(v -> 'then', 'null') AS then, e.no) r"));
	my %changes;
	for my $k (0 .. $#$rows)
	{
		my ($sku) = $rows->[$k]{path} =~ /^variants\[([^\]]*)\]\./;
		# A variant may be gone by now.
		if ($equal->[$k] && (!defined $sku || $document->{variants}{$sku})) { $changes{ $rows->[$k]{path} } = $rows->[$k]{local_value} }
		else { $self->{stale}++ }
	}
	return 0 unless %changes;
	my $paths = 'ARRAY(SELECT jsonb_array_elements_text(' . literal([ sort keys %changes ]) . '))';
	$self->{sql}->("SELECT sync.shop_pushing('shop', $remote, $paths, " . $self->{shop}->updated_at($remote) . ')');
	my $answer = $self->{shop}->send($remote, \%changes) // return 0;
	$self->{sent}++;
	if ($self->{world}->chance($lose)) { $self->{lost}++; return 1 }
	$self->{sql}->("SELECT sync.shop_pushed('shop', $remote, " . literal($answer) . ", $paths, " . $self->{shop}->updated_at($remote) . ')');
	return 1;
}

sub push_stock
{
	my ($self, $row, $lose) = @_;
	my ($sku) = $row->{path} =~ /^variants\[([^\]]*)\]/;
	my $remote = $row->{product_remote};
	# The outbox names the variant here: its product is the shop's that has the SKU.
	($remote) = grep { $self->{shop}->variant_of($_, $sku) } $self->{shop}->remotes unless defined $remote;
	return 0 unless defined $remote;
	# The same request once more has the same key, so that the shop does not do it twice.
	my $request = "$row->{shopify_value} to $row->{local_value}";
	my $last = $self->{unanswered}{"$sku $row->{location_id}"};
	my $key = $last && $last->{request} eq $request ? $last->{key} : 'key-' . ++$self->{keys};
	$self->{sql}->("SELECT sync.shop_pushing_stock('shop', $row->{variant_id}, $row->{location_id})");
	my $set = $self->{shop}->set_stock($remote, $sku, $row->{location_id}, $row->{local_value}, $row->{shopify_value}, $key);
	delete $self->{unanswered}{"$sku $row->{location_id}"};
	if (!defined $set) { $self->{stale}++; return 0 }
	$self->{sent}++;
	if ($self->{world}->chance($lose))
	{
		$self->{lost}++;
		$self->{unanswered}{"$sku $row->{location_id}"} = { request => $request, key => $key };
		return 1;
	}
	$self->{sql}->("SELECT sync.shop_pushed_stock('shop', $row->{variant_id}, $row->{location_id}, $set, " . ($self->{shop}{set_at} // 'NULL') . ')');
	return 1;
}

1;

# A small world of a random test: products, people who change them in the shop and by hand, a feed and an ERP that change too, and a
# record of who set which field to what, and over what.  All of it follows from a seed.
#   my $world = ProductSync::World->new(seed => 1, sql => sub { ... }, shop => $shop, location => 7);
#   $world->merchant_edits(10);  $world->hand_edits(10);  $world->{edits}
# The shop is a ProductSync::MemoryShop or ProductSync::Merchant: read, write, create, remove, set_stock.
package ProductSync::World;
use strict;
use warnings;
use JSON::PP;
use Time::HiRes qw(time);

my $json = JSON::PP->new->canonical->allow_nonref->ascii;

# ---- chance ----------------------------------------------------------------------------------------------------------------------

# A number below $n; xorshift, as Perl's rand() is shared with whatever else wants numbers.
sub below
{
	my ($self, $n) = @_;
	my $x = $self->{state};
	$x ^= ($x << 13) & 0xffffffff;
	$x ^= $x >> 17;
	$x ^= ($x << 5) & 0xffffffff;
	$self->{state} = $x;
	return $x % $n;
}

sub chance { my ($self, $share) = @_; return $self->below(10000) < $share * 10000 }
sub pick { my ($self, @list) = @_; return $list[ $self->below(scalar @list) ] }

sub shuffle
{
	my ($self, @list) = @_;
	for my $k (reverse 1 .. $#list)
	{
		my $other = $self->below($k + 1);
		@list[ $k, $other ] = @list[ $other, $k ];
	}
	return @list;
}

# ---- products --------------------------------------------------------------------------------------------------------------------

sub new
{
	my ($class, %option) = @_;
	my $self = bless { %option, edits => [], counts => {}, next => 0 }, $class;
	$self->{state} = (($option{seed} * 2654435761 + 1) & 0xffffffff) || 1;
	$self->below(2) for 1 .. 10;
	return $self;
}

sub count { my ($self, $what, $n) = @_; $self->{counts}{$what} += $n // 1 }

my @nouns = qw(Binder Stapler Marker Envelope Notebook Folder Lamp Chair Shredder Label);
my @vendors = qw(Acme Brightline Cowan Dorset);
my @types = qw(Filing Writing Paper Furniture);
my @tags = qw(new sale office school green bulk);
my @colours = qw(Red Blue Green Black);

# A new product as a document by SKU; its words and prices are drawn.
sub product
{
	my ($self, %more) = @_;
	my $n = ++$self->{next};
	my $noun = $self->pick(@nouns);
	my $variants = $self->pick(1, 1, 2, 2, 3);
	my $cents = 500 + $self->below(20000);
	my %document = (
		handle => lc("$noun-$n"), title => "$noun No. $n", description => "<p>$noun, model $n.</p>", vendor => $self->pick(@vendors),
		type => $self->pick(@types), status => 'active', tags => [ sort $self->pick(@tags) ],
		variants => {
			map {
				("SK-$n-$_" => {
						price => ($cents + 100 * $_) / 100, currency => 'USD', barcode => sprintf('20%06d%03d', $n, $_),
						$variants > 1 ? (options => { Color => $colours[ $_ - 1 ] }) : ()
					})
			} 1 .. $variants
		}, %more);
	return \%document;
}

# A new value of a field, most often another one.
sub value_for
{
	my ($self, $path, $old) = @_;
	return $self->pick(@nouns) . ' ' . $self->pick('deluxe', 'basic', 'A4', 'XL', 'mk ' . $self->below(50)) if $path eq 'title';
	return '<p>' . join(' ', map { $self->pick(@nouns) } 1 .. 4 + $self->below(4)) . '.</p>' if $path eq 'description';
	return $self->pick(@vendors) if $path eq 'vendor';
	return $self->pick(@types) if $path eq 'type';
	return $self->pick(qw(active active draft)) if $path eq 'status';
	return [ sort { $a cmp $b } ($self->shuffle(@tags))[ 0 .. $self->below(3) ] ] if $path eq 'tags';
	return $self->pick('clay', 'steel', 'paper', 'oak ' . $self->below(20)) if $path =~ /^metafields/;
	return 'Buy ' . $self->pick(@nouns) . ' ' . $self->below(20) if $path =~ /seo_title$/;
	return '29' . sprintf('%09d', $self->below(1000000)) if $path =~ /barcode$/;
	return (1 + $self->below(40)) * 25 if $path =~ /weight$/;
	if ($path =~ /(price|cost)$/)
	{
		my $cents = int(($old || 20) * 100 + 0.5);
		my $step = $self->chance(0.5) ? $cents * $self->pick(1, 2, 3, 4) / 100 : $cents * $self->pick(6, 10, 25) / 100;
		$cents += ($self->chance(0.5) ? 1 : -1) * (int($step) || 1);
		$cents = 100 if $cents < 100;
		$cents += 5000 if $path =~ /compare/;
		return $cents / 100;
	}
	die "no value for $path";
}

my @product_fields = qw(title title description vendor type tags status metafields.custom.material attributes.seo_title);
my @variant_fields = qw(price price price compare_at_price cost barcode weight);

# A field of a document at random, as a path and its present value.  The document's variants are by SKU.
sub field_of
{
	my ($self, $document) = @_;
	my @skus = sort keys %{ $document->{variants} };
	if (@skus && $self->chance(0.5))
	{
		my $sku = $self->pick(@skus);
		my $field = $self->pick(@variant_fields);
		return ("variants[$sku].$field", $document->{variants}{$sku}{$field});
	}
	my $path = $self->pick(@product_fields);
	return ($path, value_at($document, $path));
}

# What a path leads to in a document whose variants are by SKU.
sub value_at
{
	my ($document, $path) = @_;
	return (($document->{variants}{$1} // {})->{options} // {})->{$2} if $path =~ /^variants\[(.*)\]\.options\.(.*)$/;
	return ($document->{variants}{$1} // {})->{$2} if $path =~ /^variants\[(.*)\]\.(.*)$/;
	return $document->{metafields}{$1} if $path =~ /^metafields\.(.*)$/;
	return $document->{attributes}{$1} if $path =~ /^attributes\.(.*)$/;
	return $document->{$path};
}

# A document of the shop, whose variants are by number, with them by SKU.
sub by_sku
{
	my ($document) = @_;
	my %copy = %$document;
	$copy{variants} = { map { ($_->{sku} => $_) } grep { ($_->{sku} // '') ne '' } values %{ $document->{variants} } };
	return \%copy;
}

# Notes that somebody set a field: who is hand, merchant or erp; key is a product's number here or in the shop.
sub note_edit
{
	my ($self, $who, $key, $path, $value, $over) = @_;
	return if $json->encode($value) eq $json->encode($over) || defined $over && !ref $value && "$value" eq "$over";
	push @{ $self->{edits} }, { who => $who, key => $key, path => $path, value => $value, over => $over, at => time };
	$self->count($who);
}

# ---- people in the shop ------------------------------------------------------------------------------------------------------------

sub merchant_edits
{
	my ($self, $n) = @_;
	my $shop = $self->{shop};

	for (1 .. $n)
	{
		my $remote = $self->pick($shop->remotes) // last;
		my $document = by_sku($shop->known($remote));
		my %changes;
		for (1 .. $self->pick(1, 1, 2))
		{
			my ($path, $old) = $self->field_of($document);
			next if exists $changes{$path};
			my $value = $self->value_for($path, $old);
			$changes{$path} = $value;
			$self->note_edit('merchant', $remote, $path, $value, $old);
		}
		$shop->write($remote, \%changes);
	}
}

# Sold, or counted, in the shop.
sub merchant_stock
{
	my ($self, $n) = @_;
	my $shop = $self->{shop};

	for (1 .. $n)
	{
		my $remote = $self->pick($shop->remotes) // last;
		my $sku = $self->pick(sort keys %{ by_sku($shop->known($remote))->{variants} }) // next;
		my $old = $shop->stock_known($remote, $sku, $self->{location}) // 0;
		my $new = $self->chance(0.7) ? $old - $self->below(4) : $self->below(60);
		$new = 0 if $new < 0;
		next if $new == $old;
		$shop->set_stock($remote, $sku, $self->{location}, $new);
		$self->note_edit('merchant', $remote, "variants[$sku].stock[$self->{location}]", $new, $old);
	}
}

sub merchant_creates
{
	my ($self) = @_;
	my $document = $self->product;
	my $remote = $self->{shop}->create($document);
	$self->{shop}->set_stock($remote, $_, $self->{location}, $self->below(40)) for sort keys %{ $document->{variants} };
	$self->count('created in the shop');
	return $document;
}

# A variant comes, or goes.
sub merchant_variants
{
	my ($self) = @_;
	my $shop = $self->{shop};
	my $remote = $self->pick($shop->remotes) // return;
	my $variants = by_sku($shop->known($remote))->{variants};
	my @skus = sort keys %$variants;
	return if @skus < 2 || !$variants->{ $skus[0] }{options};
	if (@skus < 4 && $self->chance(0.6))
	{
		my %taken = map { ($_->{options}{Color} => 1) } values %$variants;
		my ($colour) = grep { !$taken{$_} } @colours;
		my $sku = "$skus[0]-" . ++$self->{next};
		$shop->write($remote, { "variants[$sku]" => { price => 10 + $self->below(90), currency => 'USD', options => { Color => $colour } } });
		$self->count('variants added in the shop');
	}
	else
	{
		$shop->write($remote, { "variants[$skus[-1]]" => undef });
		$self->count('variants deleted in the shop');
	}
}

sub merchant_deletes
{
	my ($self) = @_;
	my $remote = $self->pick($self->{shop}->remotes) // return;
	$self->{shop}->remove($remote);
	$self->count('deleted in the shop');
}

# ---- people at the tables ------------------------------------------------------------------------------------------------------------

my %column = (price => 'price', compare_at_price => 'compare_at_price', cost => 'cost', barcode => 'barcode', weight => 'weight');

sub quoted { my ($text) = @_; $text =~ s/'/''/g; return "'$text'" }

# The catalogue: product id → document.
sub catalogue
{
	my ($self) = @_;
	my $text = $self->{sql}->("SELECT coalesce(jsonb_object_agg(d.product_id, d.document), '{}') FROM sync.product_documents(ARRAY(SELECT id FROM sync.product)) d");
	return $json->decode($text);
}

sub hand_edits
{
	my ($self, $n) = @_;
	my $catalogue = $self->catalogue;
	my @ids = sort { $a <=> $b } keys %$catalogue;
	my @statements;

	for (1 .. $n)
	{
		my $id = $self->pick(@ids) // last;
		my ($path, $old) = $self->field_of($catalogue->{$id});
		my $value = $self->value_for($path, $old);
		my ($table, $where, $set) = ('sync.product', "id = $id");
		if ($path =~ /^variants\[(.*)\]\.(.*)$/)
		{
			($table, $where, $set) = ('sync.variant', 'sku = ' . quoted($1), "$column{$2} = " . quoted($value));
			$catalogue->{$id}{variants}{$1}{$2} = $value;
		}
		elsif ($path =~ /^(metafields|attributes)\.(.*)$/)
		{
			$set = "$1 = $1 || " . quoted($json->encode({ $2 => $value }));
			$catalogue->{$id}{$1}{$2} = $value;
		}
		else
		{
			$set = "$path = " . quoted(ref $value ? '{' . join(',', @$value) . '}' : $value);
			$catalogue->{$id}{$path} = $value;
		}
		push @statements, "UPDATE $table SET $set WHERE $where;";
		$self->note_edit('hand', $id, $path, $value, $old);
	}
	$self->{sql}->(join "\n", @statements) if @statements;
}

# Changes by hand some of what a run of the feed waits to be approved for.
sub hand_edits_staged
{
	my ($self, $run) = @_;
	my $rows = $self->{sql}->("SELECT concat_ws(' ', s.product_id, f.path) FROM sync.staging s JOIN sync.staging_field f ON f.staging_id = s.id"
		. " WHERE s.run_id = $run AND s.state = 'open' AND s.kind = 'update' AND f.path ~ '^(title|description|vendor|type)\$|\\.price\$' ORDER BY f.id");
	for my $row (split /\n/, $rows)
	{
		next unless $self->chance(0.3);
		my ($id, $path) = split / /, $row;
		my $old = value_at($self->catalogue->{$id}, $path);
		my $value = $self->value_for($path, $old);
		$self->note_edit('hand', $id, $path, $value, $old);
		$self->{sql}->($path =~ /^variants\[(.*)\]/ ? "UPDATE sync.variant SET price = $value WHERE sku = " . quoted($1) : "UPDATE sync.product SET $path = " . quoted($value) . " WHERE id = $id");
		$self->count('edited while staged');
	}
}

sub hand_creates
{
	my ($self) = @_;
	my $document = $self->product;
	my $array = '{' . join(',', @{ $document->{tags} }) . '}';
	my @statements = "WITH p AS (INSERT INTO sync.product (handle, title, description, vendor, type, status, tags) VALUES ("
		. join(', ', map { quoted($_) } @$document{qw(handle title description vendor type status)}, $array) . ') RETURNING id)'
		. ' INSERT INTO sync.variant (product_id, sku, price, barcode, options) SELECT p.id, v.* FROM p, (VALUES '
		. join(', ', map { my $v = $document->{variants}{$_}; '(' . join(', ', quoted($_), $v->{price}, quoted($v->{barcode}), quoted($json->encode($v->{options} // {})) . '::jsonb') . ')' }
			sort keys %{ $document->{variants} }) . ') AS v (sku, price, barcode, options);';
	$self->{sql}->("@statements");
	$self->count('created by hand');
	return $document;
}

# Locks a field, or lets one go.
sub hand_locks
{
	my ($self) = @_;
	my $catalogue = $self->catalogue;
	my $id = $self->pick(sort { $a <=> $b } keys %$catalogue) // return;
	my ($path) = $self->field_of($catalogue->{$id});
	if ($self->chance(0.6)) { $self->{sql}->("SELECT sync_lock($id, " . quoted($path) . ", 'test')"); $self->count('locks') }
	else { $self->{sql}->("DELETE FROM sync.field_lock WHERE id IN (SELECT id FROM sync.field_lock ORDER BY id LIMIT 2)"); $self->count('unlocks') }
}

# A person decides some of what is open; a value of one's own counts as an edit.
sub resolve
{
	my ($self, $share) = @_;
	my @open = map { [ split /\t/ ] } split /\n/, $self->{sql}->("SELECT concat_ws(E'\\t', id, product_id, path, coalesce(local_value, shopify_value, '0')) FROM sync.conflict WHERE state = 'open' ORDER BY id");
	for my $conflict (@open)
	{
		my ($id, $product, $path, $value) = @$conflict;
		next unless $self->chance($share);
		my $choice = $self->pick(qw(local shopify custom));
		$choice = 'shopify' if $path !~ /stock/ && $path =~ /^variants\[[^\]]*\]$/;
		if ($choice eq 'custom')
		{
			my $custom = $path =~ /stock\[/ ? $self->below(50) : $self->value_for($path, $path =~ /price|cost/ ? $json->decode($value) : undef);
			$self->{sql}->("SELECT sync_resolve($id, 'custom', " . quoted($json->encode($custom)) . "::jsonb, 'test')");
		}
		else { $self->{sql}->("SELECT sync_resolve($id, '$choice')") }
		$self->count("resolved as $choice");
	}
}

# ---- the ERP -------------------------------------------------------------------------------------------------------------------------

# Counts some of these SKUs in the ERP.
sub erp_stock
{
	my ($self, $n, @skus) = @_;
	my @items;
	for (1 .. $n)
	{
		my $sku = $self->pick(@skus) // last;
		my $quantity = $self->{erp}{$sku} // $self->below(40);
		$quantity = $self->chance(0.7) ? $quantity - $self->below(5) + $self->below(3) : $self->below(60);
		$quantity = 0 if $quantity < 0;
		$self->note_edit('erp', $sku, "variants[$sku].stock[$self->{location}]", $quantity, $self->{erp}{$sku});
		$self->{erp}{$sku} = $quantity;
		push @items, { ItemNumber => $sku, Title => "Item $sku", Stores => [ { StoreId => 1, StoreName => 'Main Warehouse', OnHandQty => $quantity + 2, AllocatedQty => 2, AvailableQty => $quantity } ] };
	}
	return @items;
}

# ---- the feed ------------------------------------------------------------------------------------------------------------------------

my %header = (handle => 'URL handle', title => 'Title', description => 'Description', vendor => 'Vendor', type => 'Type', status => 'Status');

# Puts a product into the feed.
sub feed_adds
{
	my ($self, $document) = @_;
	push @{ $self->{feed} }, $document;
}

# Changes $n fields of products of the feed.
sub feed_edits
{
	my ($self, $n) = @_;
	for (1 .. $n)
	{
		my $document = $self->pick(@{ $self->{feed} }) // last;
		my ($sku) = sort keys %{ $document->{variants} };
		my $field = $self->pick(qw(title description vendor type price price));
		if ($field eq 'price') { $document->{variants}{$sku}{price} = $self->value_for('price', $document->{variants}{$sku}{price}) }
		else { $document->{$field} = $self->value_for($field) }
		$self->count('feed');
	}
}

# The feed as rows of ProductSync::Feed::by_hand().
sub feed_rows
{
	my ($self) = @_;
	my @rows;
	for my $document (@{ $self->{feed} })
	{
		my $first = 1;
		for my $sku (sort keys %{ $document->{variants} })
		{
			my $v = $document->{variants}{$sku};
			push @rows, {
				'URL handle' => $document->{handle}, SKU => $sku, Barcode => $v->{barcode}, Price => $v->{price},
				$v->{options} ? ('Option1 name' => 'Color', 'Option1 value' => $v->{options}{Color}) : (),
				$first ? ((map { ($header{$_} => $document->{$_}) } keys %header), Tags => join(', ', @{ $document->{tags} })) : () };
			$first = 0;
		}
	}
	return @rows;
}

1;

# The Shopify double as ProductSync::World and ProductSync::Pusher see a shop: what people in it do, and what a push of ours would send,
# the latter as real mutations.  What is known of a product is what the shop last told of it.
package ProductSync::Merchant;
use strict;
use warnings;
use Carp;
use JSON::PP;
use ProductSync::World;

# shop: a ProductSync::Shopify.
sub new { my ($class, %option) = @_; return bless { known => {}, stock => {}, writes => 0, %option }, $class }

sub writes { $_[0]{writes} }
sub remotes { my ($self) = @_; return sort { $a <=> $b } keys %{ $self->{known} } }
sub known { my ($self, $remote) = @_; return $self->{known}{$remote} }
sub updated_at { my ($self, $remote) = @_; return "'$self->{updated}{$remote}'" }
sub stock_known { my ($self, $remote, $sku, $location) = @_; return $self->{stock}{ $self->variant_of($remote, $sku) // 0 }{$location} }

sub variant_of
{
	my ($self, $remote, $sku) = @_;
	my $variants = $self->{known}{$remote}{variants};
	return (grep { ($variants->{$_}{sku} // '') eq $sku } sort keys %$variants)[0];
}

# ---- reading -------------------------------------------------------------------------------------------------------------------------

my $fields = 'id handle title descriptionHtml vendor productType tags status updatedAt seo { title description } options { name }'
	. ' metafields(first: 20) { nodes { namespace key value } }'
	. ' variants(first: 20) { nodes { id sku barcode price compareAtPrice selectedOptions { name value } inventoryItem { id tracked unitCost { amount }'
	. ' measurement { weight { unit value } } inventoryLevels(first: 5) { nodes { location { id } quantities(names: ["available"]) { quantity } } } } } }';

sub number { my ($gid) = @_; return $gid =~ m{/(\d+)} ? $1 : croak "no gid: $gid" }

# A node of a query as a document in the mirror's shape; remembers it.
sub remember
{
	my ($self, $node) = @_;
	my $remote = number($node->{id});
	my %document = (
		handle => $node->{handle}, title => $node->{title}, description => $node->{descriptionHtml}, vendor => $node->{vendor}, type => $node->{productType},
		tags => $node->{tags}, status => lc $node->{status}, variants => {});
	$document{metafields}{"$_->{namespace}.$_->{key}"} = $_->{value} for @{ $node->{metafields}{nodes} };
	$document{attributes}{seo_title} = $node->{seo}{title} if defined $node->{seo}{title};
	for my $v (@{ $node->{variants}{nodes} })
	{
		my $id = number($v->{id});
		my $item = $v->{inventoryItem};
		$document{variants}{$id} = {
			sku => $v->{sku}, price => $v->{price} + 0, currency => 'USD',
			defined $v->{barcode} && $v->{barcode} ne '' ? (barcode => $v->{barcode}) : (),
			defined $v->{compareAtPrice} ? (compare_at_price => $v->{compareAtPrice} + 0) : (),
			$item->{unitCost} ? (cost => $item->{unitCost}{amount} + 0) : (),
			$item->{measurement}{weight}{value} ? (weight => $item->{measurement}{weight}{value} + 0) : () };
		my %options = map { ($_->{name} => $_->{value}) } grep { $_->{value} ne 'Default Title' } @{ $v->{selectedOptions} };
		$document{variants}{$id}{options} = \%options if %options;
		$self->{item}{$id} = $item->{id};
		$self->{stock}{$id} = { map { (number($_->{location}{id}) => $_->{quantities}[0]{quantity}) } @{ $item->{inventoryLevels}{nodes} } };
	}
	$self->{updated}{$remote} = $node->{updatedAt};
	return $self->{known}{$remote} = \%document;
}

# A request that has to succeed; returns its data.
sub ask
{
	my ($self, $query, $variables) = @_;
	my $answer = $self->{shop}->graphql($query, $variables);
	croak "Shopify refused $query: " . JSON::PP->new->canonical->encode([ $variables, $answer ]) if $answer->{errors} || !$answer->{data};
	for my $part (grep { ref eq 'HASH' } values %{ $answer->{data} })
	{
		croak "Shopify refused $query: " . JSON::PP->new->canonical->encode([ $variables, $part ]) if @{ $part->{userErrors} // [] };
	}
	return $answer->{data};
}

# The same from what the double answers to a change in short.
sub remember_short
{
	my ($self, $p) = @_;
	my %document = (
		handle => $p->{handle}, title => $p->{title}, description => $p->{descriptionHtml}, vendor => $p->{vendor}, type => $p->{productType}, tags => $p->{tags},
		status => lc $p->{status}, metafields => $p->{metafields}, variants => {});
	$document{attributes}{seo_title} = $p->{seo}{title} if defined $p->{seo}{title};
	for my $v (@{ $p->{variants} })
	{
		$document{variants}{ $v->{id} } = {
			sku => $v->{sku}, currency => 'USD', price => $v->{price} + 0, ($v->{barcode} // '') ne '' ? (barcode => $v->{barcode}) : (),
			defined $v->{compareAtPrice} ? (compare_at_price => $v->{compareAtPrice} + 0) : (), defined $v->{cost} ? (cost => $v->{cost} + 0) : (),
			$v->{weight}{value} ? (weight => $v->{weight}{value} + 0) : (),
			grep({ $_ ne 'Default Title' } @{ $v->{options} }) ? (options => { map { ($p->{options}[$_] => $v->{options}[$_]) } 0 .. $#{ $v->{options} } }) : () };
		$self->{item}{ $v->{id} } = "gid://shopify/InventoryItem/$v->{item}";
		$self->{stock}{ $v->{id} } = { map { ($_ => $v->{stock}{$_}{available}) } keys %{ $v->{stock} } };
	}
	return $self->{known}{ $p->{id} } = \%document;
}

sub read
{
	my ($self, $remote) = @_;
	my $node = $self->ask("query(\$id: ID!) { product(id: \$id) { $fields } }", { id => "gid://shopify/Product/$remote" })->{product};
	return $node && $self->remember($node);
}

# Every product of the shop, read anew.
sub all
{
	my ($self) = @_;
	my (%all, $after);
	do
	{
		my $page = $self->ask("query(\$after: String) { products(first: 20, after: \$after) { nodes { $fields } pageInfo { hasNextPage endCursor } } }", { after => $after })->{products};
		$all{ number($_->{id}) } = $self->remember($_) for @{ $page->{nodes} };
		$after = $page->{pageInfo}{hasNextPage} ? $page->{pageInfo}{endCursor} : undef;
	} while (defined $after);
	return \%all;
}

# ---- people in the shop ----------------------------------------------------------------------------------------------------------------

my %name = (title => 'title', description => 'descriptionHtml', vendor => 'vendor', type => 'productType', tags => 'tags', status => 'status', handle => 'handle');
my %variant_name = (price => 'price', compare_at_price => 'compareAtPrice', barcode => 'barcode', cost => 'cost', weight => 'weight');

# Products of the seed and of create(): documents by SKU as the double takes them.
sub product_for
{
	my ($document) = @_;
	my @skus = sort keys %{ $document->{variants} };
	my $options = $document->{variants}{ $skus[0] }{options};
	return {
		(map { ($name{$_} => $document->{$_}) } grep { $_ ne 'status' } keys %name), status => uc $document->{status}, $options ? (options => ['Color']) : (),
		variants => [ map { my $v = $document->{variants}{$_}; { sku => $_, price => $v->{price}, barcode => $v->{barcode}, $v->{options} ? (options => [ $v->{options}{Color} ]) : () } } @skus ] };
}

sub create
{
	my ($self, $document) = @_;
	my $made = $self->{shop}->edit({ add => product_for($document) });
	$self->remember_short($made);
	return $made->{id};
}

# What a merchant sets, by paths with SKUs.
sub write
{
	my ($self, $remote, $changes) = @_;
	my %edit = (product => $remote);
	for my $path (keys %$changes)
	{
		my $value = $changes->{$path};
		if ($path =~ /^variants\[([^\]]*)\]\.(.*)$/)
		{
			$edit{variants}{ $self->variant_of($remote, $1) }{ $variant_name{$2} } = $2 eq 'weight' ? { value => $value, unit => 'GRAMS' } : $value;
		}
		elsif ($path =~ /^variants\[([^\]]*)\]$/)
		{
			if ($value) { push @{ $edit{add_variants} }, { sku => $1, price => $value->{price}, options => [ $value->{options}{Color} ] } }
			else { push @{ $edit{remove_variants} }, $self->variant_of($remote, $1) }
		}
		elsif ($path =~ /^metafields\.([^.]*)\.(.*)$/) { push @{ $edit{metafields} }, { namespace => $1, key => $2, value => $value } }
		elsif ($path eq 'attributes.seo_title') { $edit{set}{seo}{title} = $value }
		else { $edit{set}{ $name{$path} } = $path eq 'status' ? uc $value : $value }
	}
	return $self->remember_short($self->{shop}->edit(\%edit));
}

sub remove
{
	my ($self, $remote) = @_;
	$self->{shop}->edit({ product => $remote, delete => JSON::PP::true });
	delete $self->{known}{$remote};
}

# Stock: as a merchant counts it; or, where $from is given, as a push of ours does, which returns undef when the level is another by now.
sub set_stock
{
	my ($self, $remote, $sku, $location, $quantity, $from, $key) = @_;
	my $variant = $self->variant_of($remote, $sku) // return;
	if (!defined $from)
	{
		$self->{shop}->edit({ product => $remote, variants => { $variant => { stock => { $location => $quantity } } } });
		return $self->{stock}{$variant}{$location} = $quantity;
	}
	my $answer = $self->{shop}->graphql('mutation($input: InventorySetQuantitiesInput!, $key: String!) { inventorySetQuantities(input: $input) @idempotent(key: $key) { inventoryAdjustmentGroup { createdAt } userErrors { code message } } }',
		{ key => $key, input => { name => 'available', reason => 'correction', quantities => [ {
			inventoryItemId => $self->{item}{$variant}, locationId => "gid://shopify/Location/$location", quantity => $quantity + 0, changeFromQuantity => $from + 0 } ] } });
	croak JSON::PP->new->encode($answer) if $answer->{errors};
	my $wrong = $answer->{data}{inventorySetQuantities}{userErrors}[0];
	croak "$wrong->{code} $wrong->{message}" if $wrong && $wrong->{code} ne 'CHANGE_FROM_QUANTITY_STALE';
	return if $wrong;
	$self->{set_at} = "'$answer->{data}{inventorySetQuantities}{inventoryAdjustmentGroup}{createdAt}'";
	$self->{writes}++;
	return $self->{stock}{$variant}{$location} = $quantity;
}

# ---- a push of ours --------------------------------------------------------------------------------------------------------------------

# Sends fields by paths with SKUs as mutations; returns the product as the shop has it then.
sub send
{
	my ($self, $remote, $changes) = @_;
	my $id = "gid://shopify/Product/$remote";
	my (%product, %variants, @set, @delete);
	for my $path (sort keys %$changes)
	{
		my $value = $changes->{$path};
		if ($path =~ /^variants\[([^\]]*)\]\.(.*)$/)
		{
			my ($sku, $field) = ($1, $2);
			my $v = $variants{$sku} //= { id => 'gid://shopify/ProductVariant/' . $self->variant_of($remote, $sku) };
			if ($field eq 'cost') { $v->{inventoryItem}{cost} = $value }
			elsif ($field eq 'weight') { $v->{inventoryItem}{measurement}{weight} = { value => ($value // 0) + 0, unit => 'GRAMS' } }
			elsif ($variant_name{$field}) { $v->{ $variant_name{$field} } = $field =~ /price/ && defined $value ? "$value" : $value }
			else { croak "cannot send $path" }
		}
		elsif ($path =~ /^metafields\.([^.]*)\.(.*)$/)
		{
			if (defined $value) { push @set, { ownerId => $id, namespace => $1, key => $2, value => $value, type => 'single_line_text_field' } }
			else { push @delete, { ownerId => $id, namespace => $1, key => $2 } }
		}
		elsif ($path eq 'attributes.seo_title') { $product{seo}{title} = $value // '' }
		elsif ($name{$path}) { $product{ $name{$path} } = $path eq 'status' ? uc $value : $value // ($path eq 'tags' ? [] : '') }
		else { croak "cannot send $path" }
	}
	$self->ask('mutation($product: ProductUpdateInput!) { productUpdate(product: $product) { userErrors { field message } } }', { product => { id => $id, %product } }) if %product;
	$self->ask('mutation($id: ID!, $variants: [ProductVariantsBulkInput!]!) { productVariantsBulkUpdate(productId: $id, variants: $variants) { userErrors { field message } } }',
		{ id => $id, variants => [ map { $variants{$_} } sort keys %variants ] }) if %variants;
	$self->ask('mutation($set: [MetafieldsSetInput!]!) { metafieldsSet(metafields: $set) { userErrors { field message } } }', { set => \@set }) if @set;
	$self->ask('mutation($delete: [MetafieldIdentifierInput!]!) { metafieldsDelete(metafields: $delete) { userErrors { field message } } }', { delete => \@delete }) if @delete;
	$self->{writes}++;
	return $self->read($remote);
}

1;
